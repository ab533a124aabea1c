"""`dense-mae benchmark`, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from downstream.cli.main import run_tool

if __name__ == '__main__':
    sys.exit(run_tool('benchmark'))
