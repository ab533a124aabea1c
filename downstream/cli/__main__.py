"""``python -m downstream.cli NAME ...``: the commands, for use without installing `dense-mae`."""

import sys

from downstream.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
