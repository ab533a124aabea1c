"""Cut the objects of a detection or segmentation data set out: a small labelled set for k-NN, probes and fine-tuning.

python tools/make_crops.py COCO_OR_ADE_STYLE_DIR OUT
"""

import argparse
import sys
from pathlib import Path

from pretrain.crops import Selection, find_boxes, select, write_crops


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, 2 for data that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('root', metavar='DIR', type=Path, help='data set in COCO or ADE20K layout, train and val')
    parser.add_argument('out', metavar='OUT', type=Path, help='gets {train,val}/CLASS/NUMBER.jpg')
    parser.add_argument('--min-size', type=int, default=Selection.min_size, help='least side of a box, pixels')
    parser.add_argument('--margin', type=float, default=Selection.margin, help='added on each side, share of the box')
    parser.add_argument('--min-count', type=int, default=Selection.min_count, help='objects a class needs per part')
    parser.add_argument('--max-count', type=int, default=Selection.max_count, help='objects taken per class and part')
    parser.add_argument('--classes', nargs='+', default=(), help='take these classes alone')
    args = parser.parse_args(arguments)
    choice = Selection(args.min_size, args.margin, args.min_count, args.max_count, tuple(args.classes))
    try:
        counts = write_crops(select(find_boxes(args.root), choice), args.out, args.margin)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for label in sorted(counts['train']):
        print(f'{label:<24} {counts["train"][label]:>6} train {counts["val"][label]:>6} val')
    print(f'{args.out}: {sum(counts["train"].values())} train, {sum(counts["val"].values())} val')
    return 0


if __name__ == '__main__':
    sys.exit(main())
