"""Find the configs that come with the project, in a checkout or in an installed package."""

from collections.abc import Iterator
from pathlib import Path

from backbones.console.errors import UsageError, near

HOME = Path(__file__).resolve().parents[2]
ROOMS = ('det_configs', 'seg_configs', 'pretrain/configs')


def config_files() -> dict[str, Path]:
    """Every config by its name, which is the file's name without suffix."""
    return dict(_named())


def _named() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((HOME / room).glob('*.py')):
            if not path.name.startswith('_'):
                yield path.stem, path


def find_config(name: str | Path) -> Path:
    """Find a config's file by path (relative to here or to the project) or by the name of one of the project's.

    Raises:
        UsageError: no such file or name exists.
    """
    path = Path(name)
    if path.is_file():
        return path
    own = config_files()
    if str(name) in own:
        return own[str(name)]
    # det_configs/NAME.py, as the documents write it, works from any folder.
    if not path.is_absolute() and path.parent.as_posix() in ROOMS and (HOME / path).is_file():
        return HOME / path
    if path.exists():  # a directory, which whoever opens it refuses
        return path
    meant = near(path.stem, own) or '; `dense-mae configs` lists those known by name'
    raise UsageError(f'config {name}: there is no such file{meant}')
