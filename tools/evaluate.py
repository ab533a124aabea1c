"""Measure what a backbone has learnt, on a small or large labelled set with a folder per class.

python tools/evaluate.py work_dirs/mae_tiny/epoch_20.pth --data-root DIR --protocols knn linear --out results.json
python tools/evaluate.py random --variant tiny --img-size 112 --data-root DIR

knn     the 20 nearest neighbours among the training images by cosine, weighted as DINO's; also 5 and 1
linear  batch norm and a linear layer on the features of the frozen backbone, computed once, mirrored images too;
        the learning rate is chosen on a part of the training images
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backbones.data_folders import find_folders
from backbones.launch import RANDOM, versions
from backbones.variants import VARIANTS
from pretrain.class_transforms import EvalTransform
from pretrain.features import POOLS, check_pool, frozen_features
from pretrain.frozen import Frozen, compute_features, load_frozen, random_model
from pretrain.knn import NEIGHBOURS, knn_accuracy
from pretrain.labelled import LabelledImages
from pretrain.probe import ProbeRecipe, probe_accuracy
from tools.results import Results, table, write_results

Features = tuple[Tensor, Tensor]


def knn(train: Features, val: Features, seed: int) -> dict[str, float]:
    """Figures of k-NN; nothing is random in it."""
    bank = train[0][0], train[1]
    neighbours = [k for k in NEIGHBOURS if k <= len(bank[0])]
    found = knn_accuracy(bank, (val[0][0], val[1]), neighbours)
    return {'top1': found[neighbours[0]]} | {f'top1_k{k}': value for k, value in found.items()}


def linear(train: Features, val: Features, seed: int) -> dict[str, float]:
    """Figures of the linear probe."""
    return probe_accuracy(train, (val[0][0], val[1]), ProbeRecipe(), seed)


PROTOCOLS: dict[str, Callable[[Features, Features, int], dict[str, float]]] = {'knn': knn, 'linear': linear}


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help=f"file or published name; '{RANDOM}' for no training")
    parser.add_argument('--data-root', metavar='DIR', type=Path, required=True, help='train/CLASS and val/CLASS')
    parser.add_argument('--protocols', nargs='+', choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument('--pool', choices=[*POOLS, 'both'], default='mean', help='of the patches, class token, or both')
    parser.add_argument('--img-size', type=int, help='pixels; default: those of pretraining')
    parser.add_argument('--variant', choices=VARIANTS, help='size of the ViT where the file does not tell')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help="of probes, and of 'random' weights")
    parser.add_argument('--workers', type=int, default=0, help='processes that read images')
    parser.add_argument('--out', metavar='JSON', type=Path, help='where results go')
    return parser.parse_args(arguments)


def find_parts(root: Path) -> tuple[Path, Path]:
    """Directories of the training and validation part of a data set, which have the same classes.

    Raises:
        ValueError: a part is absent, or they are of different classes.
    """
    if not root.is_dir():
        raise ValueError(f'--data-root {root}: there is no such directory')
    parts = find_folders(root)
    absent = [part for part in ('train', 'val') if part not in parts]
    if absent:
        raise ValueError(f'{root} has no {" and no ".join(absent)} directory with a folder per class')
    odd = sorted(set(parts['train'].classes) ^ set(parts['val'].classes))
    if odd:
        raise ValueError(
            f'{root}: train and val are of different classes, only one has {", ".join(odd[:5])} ({len(odd)} in all)'
        )
    return parts['train'].images, parts['val'].images


def build(args: argparse.Namespace, seed: int) -> Frozen:
    """The backbone on the device at hand.

    Raises:
        ValueError: the checkpoint is not usable, or 'random' is not told what to build.
    """
    if args.checkpoint != RANDOM:
        frozen = load_frozen(args.checkpoint, args.variant, args.img_size)
    elif args.variant is None or args.img_size is None:
        raise ValueError(f"'{RANDOM}' needs --variant and --img-size")
    else:
        frozen = random_model(args.variant, args.img_size, seed)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    frozen.vit.to(device)
    frozen.normalise.to(device)
    return frozen


def measure(args: argparse.Namespace) -> Results:
    """Run the protocols; a checkpoint's features are computed once for all seeds.

    Raises:
        ValueError: see `find_parts` and `build`; or the model has no class token to pool.
    """
    folders = find_parts(args.data_root)
    results: Results = {protocol: {} for protocol in args.protocols}
    train, val = features_of(args, args.seeds[0], folders)
    for seed in args.seeds:
        if args.checkpoint == RANDOM and seed != args.seeds[0]:
            train, val = features_of(args, seed, folders)
        for protocol in args.protocols:
            # k-NN of a checkpoint comes out the same for each seed: once is enough.
            if protocol != 'knn' or not results['knn'] or args.checkpoint == RANDOM:
                results[protocol][str(seed)] = PROTOCOLS[protocol](train, val, seed)
    return results


def features_of(args: argparse.Namespace, seed: int, folders: tuple[Path, Path]) -> tuple[Features, Features]:
    """Features of both parts, of the training part with its mirrored copy.

    Raises:
        ValueError: see `measure`.
    """
    frozen = build(args, seed)
    check_pool(frozen.vit, 'mean' if args.pool == 'mean' else 'class')
    pool = partial(frozen_features, pool=args.pool)
    train, val = (LabelledImages(str(folder), EvalTransform(frozen.size)) for folder in folders)
    mirror = 'linear' in args.protocols
    return (
        compute_features(frozen, train, pool, mirror, args.workers),
        compute_features(frozen, val, pool, workers=args.workers),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 2 for what cannot be used."""
    args = parse_args(arguments)
    try:
        results = measure(args)
        content = dict(
            checkpoint=args.checkpoint,
            data=str(args.data_root),
            pool=args.pool,
            protocols=results,
            versions=versions(),
        )
        if args.out:
            write_results(args.out, content)
    except (OSError, ValueError) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    for protocol, runs in results.items():
        print(table(protocol, f'{args.checkpoint} on {args.data_root}', runs), end='\n\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
