"""Run a script or module with OpenMMLab prepared: ``python -m backbones SCRIPT ...`` or ``-m MODULE ...``."""

import runpy
import sys
from pathlib import Path

import backbones  # noqa: F401  (before the script imports mmdet or mmseg)


def main(argv: list[str]) -> None:
    """Run the script or module that ``argv`` names, with the rest of ``argv`` as its arguments."""
    if not argv or argv == ['-m']:
        raise SystemExit('usage: python -m backbones SCRIPT [ARGUMENT ...], or python -m backbones -m MODULE ...')
    if argv[0] == '-m':
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name='__main__', alter_sys=True)
        return
    if not Path(argv[0]).is_file():
        raise SystemExit(f'python -m backbones {argv[0]}: there is no such file')
    # Python itself sets both like this for a script.
    sys.argv = argv
    sys.path[0] = str(Path(argv[0]).resolve().parent)
    runpy.run_path(argv[0], run_name='__main__')


if __name__ == '__main__':
    main(sys.argv[1:])
