"""Look at what an image tokenizer makes of images, or keep its token ids on disk for BEiT.

examples:
  dense-mae tokens reconstruct work_dirs/tokenizer_tiny/epoch_45.pth photo.jpg another.png --out tokens.png
  dense-mae tokens cache work_dirs/tokenizer_tiny/epoch_45.pth --data-root DIR --out DIR/tokens --views 8
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backbones.console.errors import Parser, above_zero, command, seed
from backbones.data.split import training_root
from pretrain.pictures.files import check_files, write_picture
from pretrain.pictures.tokens import picture
from pretrain.tokenizer.cache import file_digest
from pretrain.tokenizer.cache_write import describe, write_cache
from pretrain.tokenizer.dvae import load_tokenizer


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    drawing = commands.add_parser('reconstruct', help='draw original | reconstruction')
    caching = commands.add_parser('cache', help='write the token ids of an image set')
    for each in (drawing, caching):
        each.add_argument('checkpoint', metavar='CHECKPOINT', help="own training, or OpenAI's files (a directory)")
        each.add_argument('--size', type=above_zero, default=112, help="side of the tokenizer's images; default 112")
    drawing.add_argument('images', metavar='IMAGE', nargs='+', help='image files')
    drawing.add_argument('--out', metavar='PNG', required=True, help='picture to write')
    caching.add_argument('--data-root', metavar='DIR', nargs='+', required=True, help='images, at any depth')
    caching.add_argument(
        '--out', metavar='DIR', required=True, help='cache to write, a new directory, or one to finish'
    )
    caching.add_argument('--views', type=above_zero, default=8, help='fixed random views of each image; default 8')
    caching.add_argument(
        '--crop-scale', type=float, nargs=2, default=(0.08, 1.0), help="share of an image's area; default 0.08 1"
    )
    caching.add_argument('--seed', type=seed, default=0, help='seed of the views')
    caching.add_argument('--workers', type=int, default=2, help='processes that read images')
    caching.add_argument('--device', default='cpu', help='where the tokenizer runs')
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(arguments)


def draw(args: argparse.Namespace) -> str:
    """Write the picture; return a line about the codes.

    Raises:
        ValueError: a file cannot be read or written, or the tokenizer has only one half.
    """
    check_files(args.images, args.out)
    tokenizer = load_tokenizer(args.checkpoint)
    canvas, usage = picture(tokenizer, args.images, args.size)
    write_picture(args.out, canvas)
    return f'{args.out}: {len(args.images)} images. {usage}'


def cache(args: argparse.Namespace) -> str:
    """Write the cache; return a line about it.

    Raises:
        ValueError: see `pretrain.tokenizer.cache_write`.
    """
    tokenizer = load_tokenizer(args.checkpoint).to(args.device)
    described = describe(tokenizer, args.size, args.crop_scale, args.seed)
    about = replace(described, file=file_digest(args.checkpoint))
    # The same as train does with its --data-root.
    roots = [str(training_root(Path(root))) for root in args.data_root]
    count = write_cache(tokenizer, about, roots, args.out, args.views, args.workers)
    return f'{args.out}: token ids of {args.views} views of {count} images in {", ".join(roots)}'


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(arguments)
    print(draw(args) if args.command == 'reconstruct' else cache(args))
