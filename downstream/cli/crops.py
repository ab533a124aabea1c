"""Cut the objects of a detection or segmentation data set out: a small labelled set for k-NN, probes and fine-tuning.

examples:
  dense-mae crops COCO_OR_ADE_STYLE_DIR OUT
"""

from argparse import BooleanOptionalAction
from collections.abc import Sequence
from pathlib import Path

from backbones.console.errors import Parser, above_zero, command
from pretrain.data.crops import Selection, find_boxes, select, write_crops


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('root', metavar='DIR', type=Path, help='data set in COCO or ADE20K layout, train and val')
    parser.add_argument('out', metavar='OUT', type=Path, help='gets {train,val}/CLASS/NUMBER.jpg')
    parser.add_argument('--min-size', type=above_zero, default=Selection.min_size, help='least side of a box, pixels')
    parser.add_argument('--margin', type=float, default=Selection.margin, help='added on each side, share of the box')
    parser.add_argument(
        '--min-count', type=above_zero, default=Selection.min_count, help='objects a class needs per part'
    )
    parser.add_argument(
        '--max-count', type=above_zero, default=Selection.max_count, help='objects taken per class and part'
    )
    parser.add_argument('--classes', nargs='+', default=(), help='take these classes alone')
    parser.add_argument(
        '--zero-is-class', action=BooleanOptionalAction, help='label 0 of masks is the first class, or is ignored'
    )
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = build_parser().parse_args(arguments)
    choice = Selection(args.min_size, args.margin, args.min_count, args.max_count, tuple(args.classes))
    boxes = find_boxes(args.root, args.zero_is_class)
    counts = write_crops(select(boxes, choice), args.out, args.margin)
    for label in sorted(counts['train']):
        print(f'{label:<24} {counts["train"][label]:>6} train {counts["val"][label]:>6} val')
    print(f'{args.out}: {sum(counts["train"].values())} train, {sum(counts["val"].values())} val')
