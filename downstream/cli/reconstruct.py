"""Draw what a pretrained model makes of images: original | masked | restored.

examples:
  dense-mae reconstruct work_dirs/mae_tiny/epoch_20.pth photo.jpg another.png --out reconstruction.png
  dense-mae reconstruct epoch_20.pth photo.jpg --mask-ratio 0.75 0.85 0.95 --out ratios.png
  dense-mae reconstruct epoch_20.pth photo.jpg --mask my_mask.png --out by_hand.png
  dense-mae reconstruct mae_visualize_vit_large.pth photo.jpg --target pixels --out published.png

The picture says what is predicted: pixels, patterns whose mean and contrast are borrowed, tokens, or cleaned pixels.
"""

import argparse
from collections.abc import Sequence

from torch import Tensor

from backbones.console.errors import Parser, command, seed
from pretrain.masking.masks import MASK_KINDS
from pretrain.methods.masked_model import MaskedImageModel, PretrainingModel
from pretrain.methods.restore import load_model
from pretrain.methods.restore_published import load_published
from pretrain.pictures.files import check_files, write_picture
from pretrain.pictures.hand_masks import drawn_masks, read_masks
from pretrain.pictures.restored import footnote, picture


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='epoch_N.pth of a pretraining run, or a published MAE')
    parser.add_argument('images', metavar='IMAGE', nargs='+', help='image files, one row each')
    parser.add_argument('--out', metavar='PNG', required=True, help='picture to write')
    parser.add_argument('--seed', type=seed, default=0, help='seed of the masks')
    parser.add_argument(
        '--mask-ratio', metavar='R', type=float, nargs='+', help="shares to mask, side by side; default: the model's"
    )
    parser.add_argument('--mask-kind', choices=MASK_KINDS, help="default: the model's")
    parser.add_argument(
        '--mask',
        metavar='FILE',
        nargs='+',
        help='masks made by hand: a text grid (.txt) of # hidden and . shown, or an image, white hidden, of one pixel '
        'per patch or of the size of the input; with --mask-ratio beside the drawn ones, else alone',
    )
    parser.add_argument('--tokenizer', metavar='PATH', help='image tokenizer, where the one of the config has moved')
    parser.add_argument(
        '--target', choices=('pixels', 'normalised'), help='what a published MAE predicts: its file does not tell'
    )
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(arguments)


def load(args: argparse.Namespace) -> PretrainingModel:
    """Read the checkpoint.

    Raises:
        ValueError: the checkpoint cannot be used.
    """
    if args.target is None:
        return load_model(args.checkpoint, args.tokenizer)
    if args.tokenizer is not None:
        raise ValueError('--tokenizer is for models of tokens, and --target for published MAEs: give one of the two')
    return load_published(args.checkpoint, norm_pix=args.target == 'normalised')


def choose_masks(args: argparse.Namespace, model: PretrainingModel) -> dict[str, Tensor] | None:
    """Masks that the command line asks for, by title; None if it asks for none.

    Raises:
        ValueError: the masks do not fit the model.
    """
    wanted = args.mask_ratio or args.mask_kind
    if not wanted and not args.mask:
        return None
    if not isinstance(model, MaskedImageModel):
        raise ValueError(f'a {type(model).__name__} adds noise and hides no patch: leave the --mask options out')
    patch, count = model.encoder.patch_size, len(args.images)
    grid = model.image_size[0] // patch, model.image_size[1] // patch
    masks = {}
    if wanted:
        ratios = args.mask_ratio or [model.mask_ratio]
        masks = drawn_masks(count, grid, args.mask_kind or model.mask, ratios, args.seed)
    return masks | read_masks(args.mask or [], count, grid)


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(arguments)
    check_files(args.images, args.out)
    model = load(args)
    rows = picture(model, args.images, choose_masks(args, model), args.seed)
    write_picture(args.out, rows)
    print(f'{args.out}: {len(args.images)} images. {footnote(model)}')
