"""Name the config key that caused an error while building from it."""

import difflib
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry

from backbones.console.errors import UsageError

UNEXPECTED = re.compile(r"(\w+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
UNREGISTERED = re.compile(r'([\w.]+) is not in the (\S+?)::(.+?) registry')


@contextmanager
def named_keys(cfg: Config) -> Iterator[None]:
    """Turn errors about unknown arguments and types into errors that name their place in a config.

    Raises:
        UsageError: in place of the error.
    """
    try:
        yield
    except TypeError as error:
        match = UNEXPECTED.search(str(error))
        place = match and _place_of_key(cfg, *match.groups())
        if not match or not place:
            raise
        taken = _arguments(match.group(1))
        raise UsageError(
            f'{place}: {match.group(1)} takes no {match.group(2)}{_hint(match.group(2), taken)}'
        ) from error
    except AssertionError as error:
        if '`epoch_length` must be a positive integer' not in str(error):
            raise
        size = cfg.train_dataloader.get('batch_size')
        raise UsageError(f'the training data do not make one batch of train_dataloader.batch_size={size}') from error
    except KeyError as error:
        match = UNREGISTERED.search(str(error))
        place = match and next((path for path, node in dicts_of(cfg) if node.get('type') == match.group(1)), None)
        if not match or place is None:
            raise
        name = match.group(1)
        known = [other for registry in registries(match.group(3)) for other in registry.module_dict]
        raise UsageError(f'{_join(place, "type")}: there is no {name}{_hint(name, known)}') from error


def _place_of_key(cfg: Config, owner: str, key: str) -> str | None:
    """Dotted name of a key in a dict of the class that refused it, else in any dict that has it."""
    found = [(path, node) for path, node in dicts_of(cfg) if key in node]
    exact = [path for path, node in found if str(node.get('type', '')).rpartition('.')[2] == owner]
    places = exact or [path for path, _ in found]
    return _join(places[0], key) if places else None


def dicts_of(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield every dict in a config with its dotted name, also inside lists."""
    if isinstance(node, Config):
        node = node._cfg_dict
    if isinstance(node, dict):
        yield path, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in entries:
        yield from dicts_of(value, _join(path, str(key)))


def _join(path: str, key: str) -> str:
    return f'{path}.{key}' if path else key


def registries(name: str | None = None) -> Iterator[Registry]:
    """All registries of mmengine and the packages built on it, or only those with a name."""
    waiting = [entry for entry in vars(mmengine.registry).values() if isinstance(entry, Registry)]
    while waiting:
        registry = waiting.pop()
        waiting += [child for children in [registry.children] for child in children.values()]
        if name in (None, registry.name):
            yield registry


def _arguments(owner: str) -> list[str]:
    """Names of a registered class's arguments."""
    for registry in registries():
        if owner in registry.module_dict:
            return list(inspect.signature(registry.module_dict[owner]).parameters)
    return []


def name_classes(cfg: Config) -> None:
    """Replace registered classes by their names; Python-style configs have ``type=CocoDataset``, the class itself."""
    for _, node in dicts_of(cfg):
        kind = node.get('type')
        if not isinstance(kind, type):
            continue
        scopes = [each.scope for each in registries() if each.module_dict.get(kind.__name__) is kind]
        if scopes:
            node['type'] = kind.__name__ if 'mmengine' in scopes else f'{scopes[0]}.{kind.__name__}'


def _hint(name: str, known: list[str]) -> str:
    if name in known:
        return ' in this scope: is default_scope that of the package it belongs to?'
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {close[0]}?' if close else ''
