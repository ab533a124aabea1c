"""From nothing to a report in minutes on a CPU: does pretraining help a detector and a segmentor?

examples:
  dense-mae quickstart
  dense-mae quickstart --method beit --work-dir work_dirs/beit

Draws scenes, pretrains a small ViT on unlabelled ones (for BEiT after an image tokenizer), fine-tunes Mask R-CNN and
UperNet from it and from random weights with the same budget, evaluates all four and writes report.html. If it is
stopped with Ctrl-C, it continues when it is run again.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from backbones.console.errors import Parser, command, seed
from downstream.report.quickstart import ARMS, SCENES_SHOWN, Results, write_report
from downstream.study.methods import MAE, METHODS, Method
from downstream.study.steps import Command, Steps, command_line

CONFIGS = {'mask_rcnn': 'mask_rcnn_vit_quickstart', 'upernet': 'upernet_vit_quickstart'}
LAYOUTS = {'mask_rcnn': 'coco', 'upernet': 'ade'}
# Option that sets where each evaluator writes its predictions, below the folder of the evaluation.
PREDICTIONS = {'mask_rcnn': 'outfile_prefix', 'upernet': 'output_dir'}
THREADS_USEFUL = 8  # a small model gains nothing from more threads


@dataclass(frozen=True)
class Budget:
    """The amounts of data and training; `scaled` makes them smaller."""

    images: int = 128
    unlabelled: int = 4096
    epochs: int = MAE.epochs
    tokenizer_epochs: int = 0
    iterations: int = 240
    seed: int = 0

    @classmethod
    def of(cls, method: Method, seed: int) -> 'Budget':
        """The whole budget of a method."""
        return cls(epochs=method.epochs, tokenizer_epochs=method.tokenizer_epochs, seed=seed)

    def scaled(self, factor: float) -> 'Budget':
        """A budget that takes about ``factor`` of the time, but always enough for every step to do something."""
        return Budget(
            images=max(8, round(self.images * factor)),
            unlabelled=max(64, round(self.unlabelled * factor)),
            epochs=max(3, round(self.epochs * min(1, factor * 4))),
            tokenizer_epochs=min(self.tokenizer_epochs, max(1, round(self.tokenizer_epochs * factor))),
            iterations=max(4, round(self.iterations * factor)),
            seed=self.seed,
        )


def draw(results: Results, budget: Budget) -> Command:
    """Draw the scenes."""
    counts = ('--images', budget.images, '--unlabelled', budget.unlabelled, '--size', 128, '--seed', budget.seed)
    return Command('shapes', command_line('shapes', results.shapes, *counts))


def checkpoint(results: Results, budget: Budget) -> Path:
    """The last checkpoint of the pretraining."""
    return results.pretraining / f'epoch_{budget.epochs}.pth'


def tokenizer_checkpoint(results: Results, budget: Budget) -> Path:
    """The last checkpoint of the tokenizer's training."""
    return results.tokenizer / f'epoch_{budget.tokenizer_epochs}.pth'


def train_tokenizer(results: Results, budget: Budget) -> Command:
    """Train the image tokenizer on the unlabelled scenes."""
    assert results.method.tokenizer is not None
    options = ('--cfg-options', f'train_cfg.max_epochs={budget.tokenizer_epochs}')
    return Command('tokenizer', learn(results, budget, results.method.tokenizer, results.tokenizer, options))


def pretrain(results: Results, budget: Budget) -> Command:
    """Pretrain the ViT on the unlabelled scenes."""
    options: tuple[str, ...] = ('--epochs', str(budget.epochs))
    if results.method.tokenizer:
        options += (
            '--cfg-options',
            f'model.target.tokenizer={tokenizer_checkpoint(results, budget)}',
        )
    return Command(results.method.name, learn(results, budget, results.method.config, results.pretraining, options))


def learn(results: Results, budget: Budget, config: str, work_dir: Path, options: tuple[str, ...]) -> tuple[str, ...]:
    """Command line of a training on the unlabelled scenes."""
    places = ('--data-root', results.shapes / 'unlabelled', '--work-dir', work_dir)
    return command_line('train', config, *places, '--resume', '--seed', budget.seed, *options)


def reconstruct(results: Results, budget: Budget) -> Command:
    """Draw the pretrained model's reconstructions of scenes that it has not seen."""
    images = [results.shapes / 'coco' / 'images' / 'val' / f'scene_{i:05d}.jpg' for i in range(SCENES_SHOWN)]
    out = ('--out', results.reconstruction)
    return Command('reconstruction', command_line('reconstruct', checkpoint(results, budget), *images, *out))


def fine_tune(results: Results, budget: Budget, model: str, arm: str) -> Command:
    """Train a detector or segmentor from an arm's weights; the arms differ in nothing else."""
    places = ('--data-root', results.shapes / LAYOUTS[model], '--work-dir', results.training(model, arm))
    start = checkpoint(results, budget) if arm == 'pretrained' else 'random'
    warm_up = max(2, budget.iterations // 15)  # one iteration would keep the rate at its start value
    options = (
        f'train_cfg.max_iters={budget.iterations}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.begin={warm_up}',
        f'param_scheduler.1.end={budget.iterations}',
        *backbone_options(results),
    )
    run = ('--pretrained', start, '--resume', '--seed', budget.seed, '--cfg-options', *options)
    return Command(f'{model}_{arm}', command_line('train', CONFIGS[model], *places, *run))


def backbone_options(results: Results) -> tuple[str, ...]:
    """Options of the backbone that the method's weights need; the arm of random weights has the same."""
    return tuple(f'model.backbone.{option}' for option in results.method.backbone)


def evaluate(results: Results, budget: Budget, model: str, arm: str) -> Command:
    """Evaluate a fine-tuned model and keep its predictions."""
    trained, out = results.training(model, arm), results.evaluation(model, arm)
    places = ('--data-root', results.shapes / LAYOUTS[model], '--work-dir', out)
    predictions = f'test_evaluator.{PREDICTIONS[model]}={out / "predictions"}'
    options = ('--cfg-options', predictions, *backbone_options(results))
    weights = trained / f'iter_{budget.iterations}.pth'
    return Command(f'{model}_{arm}_evaluation', command_line('test', CONFIGS[model], weights, *places, *options))


def plan(results: Results, budget: Budget) -> list[tuple[str, list[Command]]]:
    """All steps in order; each is a title and the commands that may run side by side."""
    both = [(model, arm) for model in CONFIGS for arm in ARMS]
    tokenizer = (
        [(f'Training an image tokenizer, {budget.tokenizer_epochs} epochs', [train_tokenizer(results, budget)])]
        if results.method.tokenizer
        else []
    )
    return [
        (f'Drawing {budget.unlabelled} unlabelled and {budget.images} labelled scenes', [draw(results, budget)]),
        *tokenizer,
        (f'Pretraining the backbone, {budget.epochs} epochs', [pretrain(results, budget)]),
        ('Reconstructing masked scenes', [reconstruct(results, budget)]),
        (
            f'Fine-tuning Mask R-CNN and UperNet, {budget.iterations} iterations each, from both starts',
            [fine_tune(results, budget, model, arm) for model, arm in both],
        ),
        ('Evaluating on unseen scenes', [evaluate(results, budget, model, arm) for model, arm in both]),
    ]


def keep_budget(work_dir: Path, budget: Budget, method: str = MAE.name) -> None:
    """Write method and budget into the working directory, or compare them with those written there.

    Raises:
        ValueError: the directory holds another run.
    """
    file = work_dir / 'budget.json'
    note = {'method': method, **asdict(budget)}
    if file.exists() and json.loads(file.read_text()) != note:
        raise ValueError(
            f'{work_dir} holds a run with another --method, --scale or --seed: use another --work-dir or delete it'
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(note))


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('--method', choices=tuple(METHODS), default=MAE.name, help='how to pretrain')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'), help='where all results go')
    parser.add_argument('--scale', type=float, default=1.0, help='share of images and iterations; below 1 only a test')
    parser.add_argument('--seed', type=seed, default=0, help='of the scenes and of all trainings')
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps."""
    options = parse(argv)
    method = METHODS[options.method]
    budget = Budget.of(method, options.seed).scaled(options.scale)
    results = Results(options.work_dir, method)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        keep_budget(options.work_dir, budget, method.name)
        run(results, budget)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f'stopped; run the same command again to continue in {options.work_dir}') from stop


def run(results: Results, budget: Budget) -> None:
    """Run what is not done yet, then write the report."""
    steps = Steps(results.root, min(os.cpu_count() or 1, THREADS_USEFUL))
    steps.say(
        f'Results go to {results.root.resolve()}; measured on two cores: 8 minutes (quiet, AVX-512) to 21 (busy, '
        'without), longer for BEiT'
    )
    todo = plan(results, budget)
    for title, commands in todo:
        steps.run(title, commands)
    report = write_report(results, [' '.join(each.argv) for _, commands in todo for each in commands])
    steps.say(f'Report: {report.resolve()}')
