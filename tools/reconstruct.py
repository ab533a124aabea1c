"""Draw what a pretrained model makes of images: original | masked | reconstruction.

python tools/reconstruct.py work_dirs/mae_tiny/epoch_20.pth photo.jpg another.png --out reconstruction.png
"""

import argparse
import sys

import cv2

from pretrain.restore import load_autoencoder
from pretrain.visualize import footnote, picture


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, 2 for a file that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='epoch_N.pth of a pretraining run')
    parser.add_argument('images', metavar='IMAGE', nargs='+', help='image files, one row each')
    parser.add_argument('--out', metavar='PNG', required=True, help='picture to write')
    parser.add_argument('--seed', type=int, default=0, help='seed of the masks')
    args = parser.parse_args(arguments)
    try:
        model = load_autoencoder(args.checkpoint)
        rows = picture(model, args.images, args.seed)
        if not cv2.imwrite(args.out, cv2.cvtColor(rows, cv2.COLOR_RGB2BGR)):
            raise ValueError(f'{args.out} cannot be written: is there such a folder?')
    except (OSError, ValueError, cv2.error) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {len(args.images)} images. {footnote(model.target.norm_pix)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
