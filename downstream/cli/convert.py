"""Show what a ViT checkpoint holds, or write its encoder alone in the layout of another project.

examples:
  dense-mae convert SRC --inspect
  dense-mae convert SRC encoder.pth            # {'model': ...}, as the official MAE files
  dense-mae convert SRC encoder.safetensors    # flat, as timm's files
  dense-mae convert SRC model.safetensors --to transformers
  dense-mae convert SRC --inspect --key model --prefix student.backbone.   # of several weights in SRC
"""

from collections.abc import Sequence

from backbones.checkpoint.write import TARGETS, inspect_checkpoint, write_encoder
from backbones.console.errors import Parser, command


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('src', metavar='SRC', help='checkpoint to read')
    parser.add_argument('dst', metavar='DST', nargs='?', help='file to write')
    parser.add_argument('--to', choices=TARGETS, help='layout of DST; default: safetensors by its suffix, else mae')
    parser.add_argument('--inspect', action='store_true', help='print format, architecture, report and config')
    parser.add_argument('--key', help="place of the weights in SRC, such as model_ema; '' is SRC itself")
    parser.add_argument('--prefix', help="what is in front of the encoder's names, such as student.backbone.")
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if not (args.dst or args.inspect):
        parser.error('give DST to convert, or --inspect to look')
    if args.to and not args.dst:
        parser.error('--to needs DST, the file to write')
    convert(args.src, args.dst, args.inspect, args.to, args.key, args.prefix)


def convert(
    src: str,
    dst: str | None,
    inspect: bool,
    target: str | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> None:
    """Print the report of ``src`` and write its encoder to ``dst`` (layout ``target``), each only if asked for.

    Raises:
        FileNotFoundError: there is no ``src``, or no folder for ``dst``.
        ValueError: ``src`` cannot be read, is of no known format, or holds weights that PlainViT has no place for.
    """
    found = inspect_checkpoint(src, key, prefix)
    if inspect:
        print('\n'.join([f'architecture {found.sizes}', str(found.report), *found.notes]))
    if not found.report.complete:
        worst = next((f' ({" ".join(row)})' for row in found.report.problems()), '')
        raise ValueError(f'{src} does not make a whole PlainViT{worst}; see --inspect')
    if dst:
        write_encoder(found.tensors, dst, target)
        print(f'{len(found.tensors)} tensors written to {dst}')
