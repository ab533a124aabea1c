"""Pack images into tar files for network or object storage.

python tools/shards.py DIR [DIR ...] OUT [--images 1000]
python tools/train.py pretrain/configs/mae_base.py --cfg-options train_dataloader.dataset.type=ShardedImages \\
    train_dataloader.dataset.data_root=OUT
"""

import sys
from collections.abc import Sequence

from backbones.engine.launch.commands import Parser, above_zero, command
from pretrain.data.shards_write import write_shards


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = Parser(__doc__)
    parser.add_argument('roots', metavar='DIR', nargs='+', help='images, at any depth')
    parser.add_argument('out', metavar='OUT', help='new directory for the shards')
    parser.add_argument('--images', type=above_zero, default=1000, help='images per shard')
    args = parser.parse_args(arguments)
    shards = write_shards(args.roots, args.out, args.images)
    print(f'{args.out}: {sum(shard["images"] for shard in shards)} images in {len(shards)} shards')


if __name__ == '__main__':
    sys.exit(main())
