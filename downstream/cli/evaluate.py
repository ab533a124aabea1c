"""Measure what a backbone has learnt, on a small or large labelled set with a folder per class.

examples:
  dense-mae evaluate work_dirs/mae_tiny/epoch_20.pth --data-root DIR --protocols knn linear --out results.json
  dense-mae evaluate random --variant tiny --img-size 112 --data-root DIR

On features of the frozen backbone, computed once for each view (the image, and for training its mirror image):
knn          the 20 nearest training images by cosine, weighted as DINO does; also 5 and 1
linear       batch norm and a linear layer; the learning rate is chosen on a part of the training images
layers       a linear layer on each block's class token and mean, as in BEiT; top1 is the best layer on the validation
             images. All features of all blocks are kept, so this is for small sets

knn and linear also print class_mean, the percentage right averaged over the classes: in an uneven set top1 can be high
just from guessing the most frequent class.

Run with the commands train and test, for as long as the recipe says (--cfg-options changes it):
linear_full  linear probe with random crops, linear_VARIANT.py
partial      the last --tuned-blocks blocks fine-tuned, finetune_VARIANT.py
finetune     the whole backbone fine-tuned, finetune_VARIANT.py
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from backbones.console import errors
from backbones.console.errors import Parser, above_zero, command
from backbones.engine.launch.commands import versions
from backbones.engine.launch.weights import RANDOM
from backbones.vit.variants import VARIANTS
from downstream.study.full_runs import TRAINED, train_all
from downstream.study.results import Measured, Results, table, write_results
from pretrain.data.class_transforms import EvalTransform
from pretrain.data.labelled import LabelledImages, labelled_parts
from pretrain.evaluation.accuracy import class_mean
from pretrain.evaluation.features import POOLS, layer_features, pooled_features
from pretrain.evaluation.frozen import Frozen, compute_features, load_frozen, random_model
from pretrain.evaluation.knn import NEIGHBOURS, knn_guesses
from pretrain.evaluation.layer_probe import layer_accuracies
from pretrain.evaluation.probe import ProbeRecipe, probe_accuracy

Features = tuple[Tensor, Tensor]


def knn(train: Features, val: Features, seed: int) -> dict[str, float]:
    """Figures of k-NN, which is not random."""
    bank = train[0][0], train[1]
    neighbours = [k for k in NEIGHBOURS if k <= len(bank[0])]
    guesses = knn_guesses(bank, val[0][0], neighbours)
    top1 = {k: 100 * (guess == val[1]).double().mean().item() for k, guess in guesses.items()}
    balanced = class_mean(guesses[neighbours[0]] == val[1], val[1])
    figures = {'top1': top1[neighbours[0]], 'class_mean': balanced}
    return figures | {f'top1_k{k}': value for k, value in top1.items()}


def linear(train: Features, val: Features, seed: int) -> dict[str, float]:
    """Figures of the linear probe."""
    return probe_accuracy(train, (val[0][0], val[1]), ProbeRecipe(), seed)


def layers(train: Features, val: Features, seed: int) -> dict[str, float]:
    """Figures of the probes of all layers."""
    found = layer_accuracies(train, (val[0][0], val[1]), seed)
    return {'top1': max(found)} | {f'layer{index}': value for index, value in enumerate(found, 1)}


FROZEN: dict[str, Callable[[Features, Features, int], dict[str, float]]] = {
    'knn': knn,
    'linear': linear,
    'layers': layers,
}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help=f"file or published name; '{RANDOM}' for no training")
    parser.add_argument('--data-root', metavar='DIR', type=Path, required=True, help='train/CLASS and val/CLASS')
    parser.add_argument('--protocols', nargs='+', choices=[*FROZEN, *TRAINED], default=['knn', 'linear'])
    parser.add_argument(
        '--pool',
        choices=[*POOLS, 'both'],
        help="patches' mean, class token, or both (knn and linear); default: mean, "
        "and the recipe's for what is trained",
    )
    parser.add_argument('--img-size', type=above_zero, help='pixels; default: those of pretraining')
    parser.add_argument('--variant', choices=VARIANTS, help='size of the ViT where the file does not tell')
    parser.add_argument('--seeds', type=errors.seed, nargs='+', default=[0], help="of probes, and of 'random' weights")
    parser.add_argument('--workers', type=int, default=0, help='processes that read images')
    parser.add_argument('--tuned-blocks', type=float, default=1, help='of partial; half a block is an MLP')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/evaluate'), help='of what is trained')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='for what is trained, as for train')
    parser.add_argument('--out', metavar='JSON', type=Path, help='where results go')
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(arguments)


def build(args: argparse.Namespace, seed: int) -> Frozen:
    """Build the backbone on the available device.

    Raises:
        ValueError: the checkpoint is not usable, or 'random' comes without variant or image size.
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


def features_of(args: argparse.Namespace, seed: int, kind: str) -> tuple[Features, Features]:
    """Features of both parts; the training part has a mirrored copy too.

    Args:
        args: the command line.
        seed: seed of random weights.
        kind: 'pooled', or 'layers'.

    Raises:
        ValueError: see `build`; or the model has no class token to pool.
    """
    frozen = build(args, seed)
    pool = layer_features if kind == 'layers' else partial(pooled_features, pool=args.pool or 'mean')
    train, val = (LabelledImages(folder, EvalTransform(frozen.size)) for folder in labelled_parts(args.data_root))
    return (
        compute_features(frozen, train, pool, mirror=True, workers=args.workers),
        compute_features(frozen, val, pool, workers=args.workers),
    )


def measure_frozen(args: argparse.Namespace, protocols: Sequence[str], kind: str) -> Iterator[Measured]:
    """Run protocols on the same features; for a checkpoint they are computed once for all seeds."""
    for seed in args.seeds if protocols else ():
        anew = args.checkpoint == RANDOM or seed == args.seeds[0]
        if anew:
            train, val = features_of(args, seed, kind)
        for protocol in protocols:
            # k-NN of a checkpoint gives the same result for each seed, so once is enough.
            if protocol != 'knn' or anew:
                yield protocol, seed, FROZEN[protocol](train, val, seed)


def check_pool_option(pool: str | None, protocols: Sequence[str]) -> None:
    """Refuse ``--pool`` together with a protocol that has no such choice.

    Raises:
        ValueError: names the protocols.
    """
    without = [name for name in protocols if pool and (name == 'layers' or (pool == 'both' and name in TRAINED))]
    if without:
        raise ValueError(f'--pool {pool} means nothing to {", ".join(without)}: run that without --pool')


def measure(args: argparse.Namespace) -> Iterator[Measured]:
    """Run all protocols.

    Raises:
        ValueError: data or checkpoint cannot be used.
        RuntimeError: a training failed.
    """
    labelled_parts(args.data_root)
    check_pool_option(args.pool, args.protocols)
    pooled = [protocol for protocol in args.protocols if protocol in FROZEN and protocol != 'layers']
    yield from measure_frozen(args, pooled, 'pooled')
    yield from measure_frozen(args, [protocol for protocol in args.protocols if protocol == 'layers'], 'layers')
    yield from train_all(args, [protocol for protocol in args.protocols if protocol in TRAINED])


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; results measured before a protocol fails are still written and printed."""
    args = parse_args(arguments)
    results: Results = {}
    content = dict(
        checkpoint=args.checkpoint,
        data=str(args.data_root),
        pool=args.pool,
        protocols=results,
        versions=versions(),
    )
    try:
        for protocol, seed, figures in measure(args):
            results.setdefault(protocol, {})[str(seed)] = figures
            if args.out:
                write_results(args.out, content)
    finally:
        for protocol, runs in results.items():
            print(table(protocol, f'{args.checkpoint} on {args.data_root}', runs), end='\n\n')
