"""``python -m downstream.cli NAME ...``: the commands, where `dense-mae` is not installed."""

import sys

from downstream.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
