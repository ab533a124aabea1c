"""Read values from a command line (numbers, names, lists, tuples and dicts) without running anything."""

import re
from typing import Any

CLOSING = {'(': ')', '[': ']', '{': '}'}
KEY = re.compile(r'\s*([A-Za-z_]\w*)\s*=')


def read_value(text: str) -> Any:
    """Read a value.

    Args:
        text: ``3``, ``1e-3``, ``True``, ``None``, ``a/path``, ``'quoted, with a comma'``, ``1,2`` and ``[1,2]`` (a
            list), ``(1,2)`` (a tuple), ``dict(type='A',n=1)`` or ``{'type':'A'}``, nested as needed. Names need no
            quotes.

    Raises:
        ValueError: brackets or quotes are not closed, or a dict is not written as one.
    """
    if not re.search(r"""[,'"]|^\s*([\[({]|dict\()""", text):
        return _scalar(text.strip())
    parts = _split(text)
    return _element(parts[0]) if len(parts) == 1 else [_element(part) for part in parts]


def _element(text: str) -> Any:
    text = text.strip()
    inner = _inside(text, '(')
    if inner is not None:
        return tuple(_element(part) for part in _split(inner))
    inner = _inside(text, '[')
    if inner is not None:
        return [_element(part) for part in _split(inner)]
    inner = _inside(text, '{')
    if inner is not None:
        return dict(_entry(part) for part in _split(inner))
    inner = _inside(text.removeprefix('dict'), '(') if text.startswith('dict(') else None
    if inner is not None:
        return dict(_argument(part) for part in _split(inner))
    if len(text) > 1 and text[0] in '\'"' and text[-1] == text[0]:
        return text[1:-1]
    return _scalar(text)


def _inside(text: str, opening: str) -> str | None:
    """Text inside the brackets at both ends of ``text``; None if there are none."""
    return text[1:-1] if text.startswith(opening) and text.endswith(CLOSING[opening]) else None


def _argument(text: str) -> tuple[str, Any]:
    match = KEY.match(text)
    if not match:
        raise ValueError(f'dict(...) takes key=value, not {text.strip()}')
    return match.group(1), _element(text[match.end() :])


def _entry(text: str) -> tuple[str, Any]:
    parts = _split(text, ':')
    if len(parts) < 2:
        raise ValueError(f"{{...}} takes 'key': value, not {text.strip()}")
    return str(_element(parts[0])), _element(text[len(parts[0]) + 1 :])


def _split(text: str, mark: str = ',') -> list[str]:
    """Split at commas outside brackets and quotes; a trailing comma starts no new part."""
    parts, start, open_ = [], 0, []
    quote = ''
    for index, char in enumerate(text):
        if quote:
            quote = '' if char == quote else quote
        elif char in '\'"' and _starts_quote(text, index):
            quote = char
        elif char in CLOSING:
            open_.append(CLOSING[char])
        elif open_ and char == open_[-1]:
            open_.pop()
        elif char in CLOSING.values():
            raise ValueError(f'{char} closes no bracket')
        elif char == mark and not open_:
            parts.append(text[start:index])
            start = index + 1
    if quote or open_:
        raise ValueError(f'{quote or open_[-1]} is missing')
    return parts if not text[start:].strip() and (parts or not text.strip()) else [*parts, text[start:]]


def _starts_quote(text: str, index: int) -> bool:
    """Whether a quote opens a quoted text; inside a word it is an apostrophe."""
    return not text[:index].strip() or text[:index].rstrip()[-1] in ',=:([{'


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {'true': True, 'false': False}.get(text.lower(), None if text == 'None' else text)
