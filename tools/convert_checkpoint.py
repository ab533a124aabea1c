"""Show what a ViT checkpoint holds, or write its encoder alone in the official MAE layout.

python tools/convert_checkpoint.py SRC --inspect
python tools/convert_checkpoint.py SRC encoder.pth            # {'model': ...}, as the official MAE files
python tools/convert_checkpoint.py SRC encoder.safetensors    # flat, as timm's files
"""

import argparse
import sys

from backbones.checkpoint_write import inspect_checkpoint, write_encoder


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, 2 for a file that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('src', metavar='SRC', help='checkpoint to read')
    parser.add_argument('dst', metavar='DST', nargs='?', help='file to write: .pth, .pt or .safetensors')
    parser.add_argument('--inspect', action='store_true', help='print format, architecture and report')
    args = parser.parse_args(arguments)
    if not (args.dst or args.inspect):
        parser.error('give DST to convert, or --inspect to look')
    try:
        convert(args.src, args.dst, args.inspect)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def convert(src: str, dst: str | None, inspect: bool) -> None:
    """Print the report of ``src`` and write its encoder to ``dst``, each where asked for.

    Raises:
        FileNotFoundError: there is no ``src``, or no folder for ``dst``.
        ValueError: ``src`` cannot be read or is of no known format, or holds what PlainViT has no place for.
    """
    sizes, report, tensors = inspect_checkpoint(src)
    if inspect:
        print(f'architecture {sizes}\n{report}')
    if not report.complete:
        raise ValueError(f'{src} does not make a whole PlainViT; see --inspect')
    if dst:
        write_encoder(tensors, dst)
        print(f'{len(tensors)} tensors written to {dst}')


if __name__ == '__main__':
    sys.exit(main())
