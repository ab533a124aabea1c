"""Fresh interpreters for tests of what happens while modules are imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def python(code, first_on_path=None):
    """Run code with the repository on the path, and optionally a folder that shadows installed packages."""
    path = [str(first_on_path)] if first_on_path else []
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([*path, str(ROOT)])}
    return subprocess.run(
        [sys.executable, '-c', code], env=environment, cwd=ROOT.parent, capture_output=True, text=True, timeout=900
    )
