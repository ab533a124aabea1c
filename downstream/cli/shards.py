"""Pack images into tar files for network or object storage.

examples:
  dense-mae shards DIR OUT --images 1000
  dense-mae train mae_base --cfg-options train_dataloader.dataset.type=ShardedImages \\
      train_dataloader.dataset.data_root=OUT
"""

from collections.abc import Sequence

from backbones.console.errors import Parser, above_zero, command
from pretrain.data.shards_write import write_shards


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('roots', metavar='DIR', nargs='+', help='images, at any depth')
    parser.add_argument('out', metavar='OUT', help='new directory for the shards')
    parser.add_argument('--images', type=above_zero, default=1000, help='images per shard')
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = build_parser().parse_args(arguments)
    shards = write_shards(args.roots, args.out, args.images)
    print(f'{args.out}: {sum(shard["images"] for shard in shards)} images in {len(shards)} shards')
