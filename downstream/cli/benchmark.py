"""Measure speed and memory against peers, side by side in one process: a table, and JSON.

examples:
  dense-mae benchmark all --budget 900 --json FILE
  dense-mae benchmark plan CONFIG --gpu-memory 24        # what fits, found without a GPU
  dense-mae benchmark scale                              # cost per image by size
  dense-mae benchmark attention                          # our ways to compute one thing, in turn

Outputs are compared before anything is timed. The peers (transformers, mmseg, mmdet, torchvision, pycocotools) come
from PyPI: pip install -e '.[tests]'. A row says so if its device or peer is missing, or if no time is left for it.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import backbones  # noqa: F401  (OpenMMLab needs to be made ready before a peer imports it)
from backbones.console.errors import Parser
from downstream.benches import attention, linear
from downstream.benches.claims import Bench
from downstream.benches.scale import scale_lines
from downstream.cli import plan as planner

# Measurements of our own code without a peer.
PARTS = {'attention': attention, 'linear': linear}
KINDS = ('pretrain', 'detect', 'segment', 'data', 'evaluate', 'optimizer')
PACKAGES = (
    'torch',
    'torchvision',
    'transformers',
    'timm',
    'mmsegmentation',
    'mmdet',
    'pycocotools',
    'faster-coco-eval',
    'opencv-python',
)


def benches_of(kind: str) -> tuple[Bench, ...]:
    """The measurements of one kind of work."""
    return importlib.import_module(f'downstream.benches.{kind}').BENCHES


def obstacle(bench: Bench) -> str | None:
    """The reason why a bench cannot run here; None if it can."""
    if bench.device == 'cuda' and not torch.cuda.is_available():
        return 'no CUDA device'
    absent = [name for name in bench.needs if importlib.util.find_spec(name) is None]
    return f'not installed: {", ".join(absent)}' if absent else None


def run_bench(bench: Bench, seconds: float) -> list[dict]:
    """Rows of one bench; an error is reported in its rows, so that the other benches still run."""
    reason = obstacle(bench)
    if reason is None and seconds <= 0:
        reason = 'the budget is spent'
    if reason is None:
        try:
            findings = bench.run(seconds)
            return [claim.row(finding) for claim, finding in zip(bench.claims, findings, strict=True)]
        except (RuntimeError, ImportError, ValueError) as error:
            reason = f'{type(error).__name__}: {error}'
    return [claim.row((None, {'reason': reason})) for claim in bench.claims]


def run_all(benches: Sequence[Bench], budget: float) -> list[dict]:
    """Run benches one after another, each with its share of the remaining time."""
    end = time.monotonic() + budget
    rows = []
    for index, bench in enumerate(benches):
        shares = sum(other.share for other in benches[index:] if obstacle(other) is None)
        left = end - time.monotonic()
        for row in run_bench(bench, left * bench.share / shares if shares else 0.0):
            print(line(row), flush=True)
            rows.append(row)
    return rows


def line(row: dict) -> str:
    """One line of the table, in Markdown."""
    figure = f'not measured ({row["detail"]["reason"]})' if row['measured'] is None else f'{row["measured"]:.2f}'
    met = {None: '', True: 'yes', False: 'no'}[row['met']]
    return f'| {row["work"]} | {row["peer"]} | {row["device"]} | {row["target"]} | {figure} | {met} |'


def surroundings() -> dict:
    """Versions and hardware that the figures belong to."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        'date': time.strftime('%Y-%m-%d'),
        'versions': {'python': sys.version.split()[0], **versions},
        'cpu': processor(),
        'threads': torch.get_num_threads(),
        'gpu': cuda,
    }


def processor() -> str:
    """Name of the processor."""
    table = Path('/proc/cpuinfo')
    lines = table.read_text().splitlines() if table.exists() else []
    return next((entry.split(':', 1)[1].strip() for entry in lines if entry.startswith('model name')), 'unknown')


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    commands = parser.add_subparsers(dest='kind', required=True)
    for kind in (*KINDS, 'all'):
        command = commands.add_parser(kind, help='measure against peers')
        command.add_argument('--budget', type=float, default=900, help='seconds to spend, about')
        command.add_argument('--json', type=Path, help='file for the rows')
        command.add_argument('--device', choices=['cpu', 'cuda'], help='measure the rows of one device alone')
    planner.add_arguments(commands.add_parser('plan', help='GPU memory of a training step'))
    commands.add_parser('scale', help='cost per image by size of image and model')
    for name, bench in PARTS.items():
        bench.add_arguments(commands.add_parser(name, help=(bench.__doc__ or '').split('\n')[0].rstrip('.')))
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def compare(args: argparse.Namespace) -> None:
    """Measure against peers and report."""
    kinds = KINDS if args.kind == 'all' else [args.kind]
    benches = [bench for kind in kinds for bench in benches_of(kind) if args.device in (None, bench.device)]
    print('| work | peer | device | target | measured | met |\n|---|---|---|---|---|---|', flush=True)
    report = {**surroundings(), 'rows': run_all(benches, args.budget)}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure or plan."""
    args = parse(argv)
    if args.kind == 'plan':
        planner.show(args)
    elif args.kind == 'scale':
        for line in scale_lines():
            print(line, flush=True)
    elif args.kind in PARTS:
        PARTS[args.kind].measure(args)
    else:
        compare(args)
