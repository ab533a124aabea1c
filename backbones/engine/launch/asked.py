"""Let values of ``--cfg-options`` win over values that other flags compute."""

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

_ABSENT = object()


class Asked:
    """Remembers the values that ``--cfg-options`` set, and puts them back after each flag.

    Args:
        cfg: config with the options merged in.
        options: the options, by their dotted names.
    """

    def __init__(self, cfg: Config, options: dict[str, Any] | None) -> None:
        paths = [
            path
            for name, value in (options or {}).items()
            for path in _leaves(tuple(name.rstrip('+').split('.')), value)
        ]
        found = {path: look_up(cfg, path) for path in paths}
        self.values = {path: copy.deepcopy(value) for path, value in found.items() if value is not _ABSENT}

    def keep(self, cfg: Config, flag: str) -> list[str]:
        """Restore the values that a flag has replaced.

        Args:
            cfg: changed in place.
            flag: name of the flag, for messages.

        Returns:
            a line for each restored value.
        """
        told = []
        for path, value in self.values.items():
            found = look_up(cfg, path)
            if found is _ABSENT or found == value:
                continue
            set_value(cfg, path, value)
            told.append(f'{".".join(path)} = {value!r}, as --cfg-options says; {flag} would set {found!r}')
        return told


def look_up(cfg: Any, path: tuple[str, ...]) -> Any:
    """Value at a path, with list entries by number; `_ABSENT` if there is none."""
    for key in path:
        if isinstance(cfg, list | tuple) and key.isdigit() and int(key) < len(cfg):
            cfg = cfg[int(key)]
        elif isinstance(cfg, dict | Config) and key in cfg:
            cfg = cfg[key]
        else:
            return _ABSENT
    return cfg


def set_value(cfg: Any, path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path whose parent exists."""
    *above, last = path
    node = look_up(cfg, tuple(above))
    node[int(last) if isinstance(node, list) else last] = value


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """Paths of the single values in an option; a flag may add others beside them, in a dict or a list of dicts."""
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        entries = list(enumerate(value))
    else:
        yield path
        return
    for key, inner in entries:
        yield from _leaves((*path, *str(key).split('.')), inner)
