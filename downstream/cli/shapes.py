"""Write the embedded default data: drawn scenes in COCO and ADE20K layout, and more of them without labels.

examples:
  dense-mae shapes DIR --images 128 --unlabelled 2048 --size 128 --seed 0

DIR/coco        images/{train,val}, annotations/instances_{train,val}.json   for det_configs/
DIR/ade         images/ and annotations/{training,validation}, classes.txt   for seg_configs/
DIR/unlabelled  images only                                                   for pretrain/configs/

Both layouts show the same scenes. The same seed gives the same files. The unlabelled part has different scenes from the
labelled part.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from backbones.console.errors import Parser, above_zero, command, seed
from downstream.shapes.layouts import write_labelled, write_unlabelled

SMALLEST = 32  # pixels; smaller scenes have no room for textures


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('dir', type=Path, help='folder to write to')
    parser.add_argument(
        '--images', type=above_zero, default=128, help='labelled images for training, as many again to validate'
    )
    parser.add_argument('--unlabelled', type=above_zero, default=2048, help='images without labels')
    parser.add_argument('--size', type=above_zero, default=128, help='side of the images in pixels')
    parser.add_argument('--seed', type=seed, default=0, help='another seed draws other scenes')
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.size < SMALLEST:
        parser.error(f'--size {options.size} is too small: use {SMALLEST} or more')
    return options


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the three folders."""
    options = parse(argv)
    for split in ('train', 'val'):
        write_labelled(options.dir, split, options.images, options.size, options.seed)
    write_unlabelled(options.dir / 'unlabelled', options.unlabelled, options.size, options.seed)
    print(f'{options.images} + {options.images} labelled scenes in {options.dir}/coco and {options.dir}/ade,')
    print(f'{options.unlabelled} without labels in {options.dir}/unlabelled')
