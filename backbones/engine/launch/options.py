"""``--cfg-options``: read values from the command line, and put them into a config."""

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from backbones.console.errors import UsageError
from backbones.engine.launch.literal import read_value

# From this similarity on, the new one of two names is a typo: strid, stride; intervall, interval.
ALIKE = 0.85
# Keys that mmengine reads in dicts that no class checks.
READ_BY_MMENGINE = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
    'auto_scale_lr': ('base_batch_size', 'enable'),
}


class OptionsAction(argparse.Action):
    """Reads ``key=value`` pairs: ``a.b=1``, ``a=[1,2]``, ``a="dict(type='B',n=1)"``; ``hooks+=...`` adds to a list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to those read before.

        Raises:
            UsageError: a pair does not have the form key=value, or its value cannot be read.
        """
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values or ():
            key, value = read_pair(text)
            if key.endswith('+'):
                value = [*options.get(key, ()), *(value if isinstance(value, list | tuple) else [value])]
            options[key] = value
        setattr(namespace, self.dest, options)


def read_pair(text: str) -> tuple[str, Any]:
    """Key and value of ``key=value``; the key keeps the ``+`` of ``key+=value``.

    Raises:
        UsageError: the text does not have this form, or the value cannot be read.
    """
    key, equals, value = text.partition('=')
    if not equals or not re.fullmatch(r'[^.\s]+(\.[^.\s]+)*', key):
        raise UsageError(f'--cfg-options {text!r} is not of the form key=value')
    try:
        return key, read_value(value)
    except ValueError as error:
        raise UsageError(f'--cfg-options {text}: {error}') from error


def apply_options(cfg: Config, options: dict[str, Any]) -> list[str]:
    """Put options into a config, and tell which keys are new to it.

    A dict is merged into the dict in its place, as in mmengine, but replaces one with another ``type``, whose arguments
    would not fit.

    Args:
        cfg: changed in place.
        options: values by dotted names; numbers name entries of lists, and a trailing ``+`` adds to a list.

    Returns:
        lines about new keys and removed hooks.

    Raises:
        UsageError: a name leads nowhere, or is nearly the name of another key.
    """
    told = []
    for name, value in options.items():
        path = name.removesuffix('+').split('.')
        told += check_path(cfg, path)
        told += _lost_hooks(cfg, name, value)
        node = cfg
        for key in path[:-1]:
            node = _entry(node, key)
        if name.endswith('+'):
            _append(node, path, value)
        else:
            _put(node, path[-1], value, name)
    return told


def check_path(cfg: Config, path: list[str]) -> list[str]:
    """Refuse a dotted name that leads nowhere in a config.

    Returns:
        a line if its last key is new.

    Raises:
        UsageError: the message says where the name leaves the config.
    """
    node: Any = cfg
    for depth, key in enumerate(path):
        where = '.'.join(path[:depth])
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                raise UsageError(
                    f'--cfg-options {".".join(path)}: {where} has {len(node)} entries'
                    + (f', 0 to {len(node) - 1}' if node else '')
                    + f'; {where}+=... adds one'
                )
            node = node[int(key)]
            continue
        if not isinstance(node, dict | Config):
            raise UsageError(
                f'--cfg-options {".".join(path)}: {where} is {_short(node)}, '
                f'which has no entries to set: give {where} whole'
            )
        if key not in node:
            _refuse_slips(node, where, key, '.'.join(path))
            return [f'{".".join(path)} is new: the config had no such key'] if key != '_delete_' else []
        node = node[key] if node[key] is not None else ConfigDict()
    return []


def slip_of(key: str, known: Iterable[str], cutoff: float = ALIKE) -> str | None:
    """Known name that a key was probably meant to be: similar, or with the same letters; None if there is none."""
    known = list(known)
    swapped = [name for name in known if sorted(name) == sorted(key)]
    return next(iter(swapped or difflib.get_close_matches(key, known, n=1, cutoff=cutoff)), None)


def _refuse_slips(node: Any, where: str, key: str, name: str) -> None:
    """Refuse a new key that nearly equals one beside it, or that mmengine would not read."""
    known = READ_BY_MMENGINE.get(where)
    beside = [other for other in node if re.sub(r'\d+', '', other) != re.sub(r'\d+', '', key)]
    close = slip_of(key, known, 0.6) if known else slip_of(key, beside)
    if close:
        meant = f'{where}.{close}' if where else close
        raise UsageError(f'--cfg-options {name}: there is no such key; did you mean {meant}?')
    if known:
        raise UsageError(f'--cfg-options {name}: nothing reads it; {where} takes {", ".join(known)}')


def _entry(node: Any, key: str) -> Any:
    """Entry of a dict or list on the way to a value; a new dict if there is none."""
    if isinstance(node, list):
        return node[int(key)]
    if node.get(key) is None:
        node[key] = ConfigDict()
    return node[key]


def _append(node: Any, path: list[str], values: list[Any]) -> None:
    key: Any = int(path[-1]) if isinstance(node, list) else path[-1]
    old = node[key] if isinstance(node, list) else node.get(key)
    if not isinstance(old, list | tuple | None):
        raise UsageError(f'--cfg-options {".".join(path)}+=: it is {_short(old)}, and no list to add to')
    new = [*(old or ()), *map(_as_config, values)]
    node[key] = tuple(new) if isinstance(old, tuple) else new


def _put(node: Any, key: str, value: Any, name: str) -> None:
    place: Any = int(key) if isinstance(node, list) else key
    old = node[place] if isinstance(node, list) else node.get(place)
    if isinstance(old, dict) and isinstance(value, dict) and value.get('type') in (None, old.get('type')):
        if value.pop('_delete_', False):
            old.clear()
        for inner, entry in value.items():
            _put(old, inner, entry, f'{name}.{inner}')
        return
    # Quotes that the shell did not remove: "(0.9,0.95)".
    if isinstance(value, str) and isinstance(old, list | tuple) and value[:1] in ('(', '['):
        value = read_pair(f'{name}={value}')[1]
    if isinstance(old, dict) and isinstance(value, str | int | float) and not isinstance(value, bool):
        raise UsageError(
            f'--cfg-options {name}={value}: it is a dict; set its entries, such as {name}.{next(iter(old), "type")}=...'
        )
    if isinstance(value, str) and isinstance(old, int | float) and not isinstance(old, bool):
        raise UsageError(f'--cfg-options {name}={value}: a number is expected, as the {old:g} that the config has')
    node[place] = _as_config(value)


def _as_config(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_config(entry) for entry in value]
    return (
        ConfigDict({key: entry for key, entry in value.items() if key != '_delete_'})
        if isinstance(value, dict)
        else value
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'a {type(value).__name__}'


def _lost_hooks(cfg: Config, name: str, value: Any) -> list[str]:
    if name != 'custom_hooks' or not cfg.get(name):
        return []
    kept = [hook.get('type') for hook in value if isinstance(hook, dict)] if isinstance(value, list) else []
    lost = [str(hook.get('type')) for hook in cfg[name] if hook.get('type') not in kept]
    return [f'custom_hooks= replaces {", ".join(lost)}; custom_hooks+= would add to them'] if lost else []
