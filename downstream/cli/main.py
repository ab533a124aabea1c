"""One command for everything: ``dense-mae NAME ...``.

A command is imported only when it is run, so that the overall help appears at once.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import backbones  # noqa: F401  (spawned workers import this file, and need OpenMMLab made ready)
from backbones.console.errors import exit_code, near

NAME = 'dense-mae'


class Entry(NamedTuple):
    """A command: the module that has its ``main``, words that come before the user's, and its summary."""

    module: str
    words: tuple[str, ...]
    summary: str


GROUPS: dict[str, dict[str, Entry]] = {
    'first steps': {
        'quickstart': Entry('quickstart', (), 'from nothing to a report in minutes on a CPU'),
        'shapes': Entry('shapes', (), 'draw the scenes that the quickstart trains on'),
        'configs': Entry('configs', (), 'list the configs that train and test know by name'),
    },
    'training': {
        'train': Entry('train', (), 'train what a config describes: pretraining, detection, segmentation'),
        'test': Entry('test', (), 'evaluate a checkpoint on the validation part of the data'),
        'sweep': Entry('sweep', (), 'pretrain over a grid of options and measure each'),
        'plan': Entry('benchmark', ('plan',), 'GPU memory that a training needs, found without a GPU'),
    },
    'pretrained weights': {
        'evaluate': Entry('evaluate', (), 'k-NN, probes and fine-tuning on images with a folder per class'),
        'reconstruct': Entry('reconstruct', (), 'draw images: original | masked | restored'),
        'convert': Entry('convert', (), 'look into a checkpoint, or write it for another project'),
    },
    'data': {
        'check': Entry('check', (), 'look through a data set before anything is trained on it'),
        'crops': Entry('crops', (), 'cut the objects of a data set out, a folder per class'),
        'shards': Entry('shards', (), 'pack images into tar files'),
        'tokens': Entry('tokens', (), "an image tokenizer's reconstructions, or its ids kept on disk"),
    },
    'this project': {
        'benchmark': Entry('benchmark', (), 'speed and memory against peers, side by side'),
        'completion': Entry('completion', (), 'let the shell complete commands, flags and config names'),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
EXAMPLES = f"""examples:
  {NAME} quickstart
  {NAME} train mae_tiny --data-root PHOTOS
  {NAME} train mask_rcnn_vit_tiny --data-root COCO_STYLE_DIR --pretrained work_dirs/mae_tiny/epoch_20.pth
  {NAME} test mask_rcnn_vit_tiny work_dirs/mask_rcnn_vit_tiny/iter_2000.pth --data-root COCO_STYLE_DIR
"""


def usage() -> str:
    """The overall help."""
    lines = [f'usage: {NAME} COMMAND ...', '', 'Masked-image pretraining that ends in detectors and segmentors.', '']
    for title, entries in GROUPS.items():
        lines += [f'{title}:', *(f'  {name:<13}{entry.summary}' for name, entry in entries.items()), '']
    lines += [f'{NAME} COMMAND --help tells the flags of one. --version tells the version.', '', EXAMPLES]
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names.

    Returns:
        exit code: 0, 2 for an error, which is printed in one line, 130 if the command was stopped.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help', 'help'):
        return exit_code(lambda: print(usage()), words) or (0 if words else 2)
    if words[0] == '--version':
        return exit_code(lambda: print(version(NAME)), words)
    entry = COMMANDS.get(words[0])
    if entry is None:
        meant = near(words[0], COMMANDS)
        print(f'error: there is no command {words[0]!r}{meant} ({NAME} --help lists them)', file=sys.stderr)
        return 2
    # Parsers take their name from sys.argv[0].
    sys.argv = [f'{NAME} {words[0]}', *words[1:]]
    arguments = [*entry.words, *words[1:]]
    return exit_code(lambda: run(entry, arguments), arguments)


def run(entry: Entry, arguments: Sequence[str]) -> int:
    """Import a command and run it."""
    return importlib.import_module(f'downstream.cli.{entry.module}').main(arguments) or 0


def run_tool(name: str) -> int:
    """Run a command as a script of a checkout: ``python tools/NAME.py ...``."""
    return exit_code(lambda: run(COMMANDS[name], sys.argv[1:]), sys.argv[1:])
