"""One command for everything: ``dense-mae NAME ...``.

A command is imported only when it is run, so that the overall help appears at once.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

import backbones  # noqa: F401  (spawned workers import this file, and need OpenMMLab made ready)
from backbones.console.errors import exit_code, near

NAME = 'dense-mae'
# Every command is the module of its name in this room.
GROUPS: dict[str, dict[str, str]] = {
    'first steps': {
        'quickstart': 'from nothing to a report in minutes on a CPU',
        'shapes': 'draw the scenes that the quickstart trains on',
        'configs': 'list the configs that train and test know by name',
    },
    'training': {
        'train': 'train what a config describes: pretraining, detection, segmentation',
        'test': 'evaluate a checkpoint on the validation part of the data',
        'sweep': 'pretrain over a grid of options and measure each',
        'plan': 'GPU memory that a training needs, found without a GPU',
    },
    'pretrained weights': {
        'evaluate': 'k-NN, probes and fine-tuning on images with a folder per class',
        'reconstruct': 'draw images: original | masked | restored',
        'convert': 'look into a checkpoint, or write it for another project',
    },
    'data': {
        'check': 'look through a data set before anything is trained on it',
        'crops': 'cut the objects of a data set out, a folder per class',
        'shards': 'pack images into tar files',
        'tokens': "an image tokenizer's reconstructions, or its ids kept on disk",
    },
    'this project': {
        'benchmark': 'speed and memory against peers, side by side',
        'completion': 'let the shell complete commands, flags and config names',
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}
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
        lines += [f'{title}:', *(f'  {name:<13}{summary}' for name, summary in entries.items()), '']
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
    if words[0] not in COMMANDS:
        meant = near(words[0], COMMANDS)
        print(f'error: there is no command {words[0]!r}{meant} ({NAME} --help lists them)', file=sys.stderr)
        return 2
    # Parsers take their name from sys.argv[0].
    sys.argv = [f'{NAME} {words[0]}', *words[1:]]
    return run(words[0], words[1:])


def run(name: str, arguments: Sequence[str]) -> int:
    """Import a command and run it; returns its exit code."""
    return exit_code(lambda: importlib.import_module(f'downstream.cli.{name}').main(arguments), arguments)


def run_tool(name: str) -> int:
    """Run a command as a script of a checkout: ``python tools/NAME.py ...``."""
    return run(name, sys.argv[1:])
