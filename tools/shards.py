"""Pack images into tar files for network or object storage.

python tools/shards.py DIR [DIR ...] OUT [--images 1000]
python tools/train.py pretrain/configs/mae_base.py --cfg-options train_dataloader.dataset.type=ShardedImages \\
    train_dataloader.dataset.data_root=OUT train_dataloader.sampler=None
"""

import argparse
import sys

from pretrain.shards import write_shards


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, 2 for data that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('roots', metavar='DIR', nargs='+', help='images, at any depth')
    parser.add_argument('out', metavar='OUT', help='new directory for the shards')
    parser.add_argument('--images', type=int, default=1000, help='images per shard')
    args = parser.parse_args(arguments)
    try:
        shards = write_shards(args.roots, args.out, args.images)
    except (OSError, ValueError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{args.out}: {sum(shard["images"] for shard in shards)} images in {len(shards)} shards')
    return 0


if __name__ == '__main__':
    sys.exit(main())
