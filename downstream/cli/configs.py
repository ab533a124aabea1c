"""List the configs that come with the project; train, test and plan take them by name.

examples:
  dense-mae configs
  dense-mae configs vitdet
"""

import ast
from collections.abc import Sequence
from pathlib import Path

from backbones.console.errors import Parser
from backbones.console.places import HOME, config_files


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('words', metavar='WORD', nargs='*', help='list only those whose name holds all of these')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line per config: its name, and the first line of its docstring."""
    words = build_parser().parse_args(argv).words
    found = {name: path for name, path in config_files().items() if all(word in name for word in words)}
    if not found:
        raise ValueError(f'no config has {" and ".join(words)} in its name')
    width = max(map(len, found))
    for room in dict.fromkeys(path.parent for path in found.values()):
        print(f'{room.relative_to(HOME)}:')
        for name, path in found.items():
            if path.parent == room:
                print(f'  {name:<{width}}  {headline(path)}')


def headline(path: Path) -> str:
    """First line of a config's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').split('\n')[0]
