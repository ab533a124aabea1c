"""Pretrain over a grid of options, measure each, write sweep.csv and sweep.png; run again, it continues.

examples:
  dense-mae sweep mae_tiny --data-root DIR --out work_dirs/sweep --seeds 0,1,2 \\
      --grid model.mask_ratio=0.3,0.5,0.75,0.9 --grid model.decoder.depth=1,2 --fixed train_cfg.max_epochs=20 \\
      --then 'dense-mae evaluate {checkpoint} --data-root LABELLED --protocols knn --out {result}' \\
      --metric protocols.knn.0.top1

Without --then the figure shows the last training loss. Losses of different targets or masks are not comparable.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import queue
import re
import shlex
import signal
import string
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.console.errors import Parser, command, seed
from downstream.report.curves import read_scalars
from downstream.report.sweep import Row, draw_sweep, write_table
from downstream.study.steps import Command, Steps, command_line

PLACEHOLDERS = {'checkpoint', 'work_dir', 'seed', 'result'}
# A comma between the values of an axis, but not one inside brackets.
COMMA = re.compile(r',(?![^(\[]*[)\]])')


@dataclass(frozen=True)
class Run:
    """One training of the grid: a value for each axis, and a seed."""

    options: tuple[tuple[str, str], ...]
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files, made of all values."""
        parts = [f'{axis}={value}' for axis, value in (*self.options, ('seed', self.seed))]
        return re.sub(r'[^\w.=-]+', '_', '_'.join(part.removeprefix('model.') for part in parts))


class Sweep:
    """Trains and measures the runs of a grid, each command once.

    Args:
        args: the command line, see `parse`.

    Raises:
        ValueError: a part of the command line cannot be used.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.axes = dict(read_axis(text) for text in args.grid)
        combinations = itertools.product(*self.axes.values())
        self.runs = [
            Run(tuple(zip(self.axes, values, strict=True)), seed) for values in combinations for seed in args.seeds
        ]
        if args.then:
            check_template(args.then)
        self.metric = args.metric or 'loss'
        self.measured: dict[Run, float] = {}
        self.failures: dict[Run, str] = {}
        self.lock = threading.Lock()

    def do(self, run: Run, steps: Steps) -> None:
        """Train and evaluate one run and store the result, or the reason for a failure."""
        try:
            value = self._measure(run, steps)
        # If one run fails for any reason, this is reported at the end, and the others go on.
        except Exception as error:
            with self.lock:
                self.failures[run] = ' '.join(str(error).split()) or type(error).__name__
            return
        with self.lock:
            self.measured[run] = value
            self.write()

    def write(self) -> None:
        """Write ``sweep.csv`` and ``sweep.png`` of the results so far."""
        rows = [
            Row(tuple(value for _, value in run.options), run.seed, self.measured.get(run))
            for run in self.runs
            if run in self.measured or run in self.failures
        ]
        write_table(self.args.out / 'sweep.csv', list(self.axes), self.metric, rows)
        draw_sweep(self.args.out / 'sweep.png', list(self.axes), self.metric, rows)

    def _measure(self, run: Run, steps: Steps) -> float:
        work_dir = self.args.out / 'runs' / run.name
        steps.run(run.name, [Command(run.name, self._training(run, work_dir))])
        if not self.args.then:
            scalars = read_scalars(work_dir)
            if self.metric not in scalars:
                raise ValueError(f'{work_dir} logged no {self.metric}, but {", ".join(scalars) or "nothing"}')
            return scalars[self.metric][-1][1]
        # Only the name is used, because the checkpoint's folder may have moved since its path was written.
        checkpoint = work_dir / Path((work_dir / 'last_checkpoint').read_text().strip()).name
        label = hashlib.sha256(self.args.then.encode()).hexdigest()[:8]
        result = work_dir / f'result_{label}.json'
        places = dict(checkpoint=checkpoint, work_dir=work_dir, seed=run.seed, result=result)
        argv = [part.format(**places) for part in shlex.split(self.args.then)]
        argv[0] = sys.executable if argv[0] == 'python' else argv[0]
        steps.run(f'{run.name}: evaluation', [Command(f'{run.name}_{label}', tuple(argv))])
        return look_up(json.loads(result.read_text()), self.metric.format(seed=run.seed), result)

    def _training(self, run: Run, work_dir: Path) -> tuple[str, ...]:
        options = [*self.args.fixed, *(f'{axis}={value}' for axis, value in run.options)]
        data = ('--data-root', *self.args.data_root) if self.args.data_root else ()
        amp = ('--amp',) if self.args.amp else ()
        places = (*data, *amp, '--work-dir', work_dir, '--resume', '--seed', run.seed)
        return command_line('train', self.args.config, *places, '--cfg-options', *options)


def read_axis(text: str) -> tuple[str, list[str]]:
    """Read ``option=value,value,...``; commas inside brackets belong to a value.

    Raises:
        ValueError: the text is not of this form.
    """
    axis, _, values = text.partition('=')
    found = [value for value in COMMA.split(values) if value]
    if not axis or not found or len(set(found)) < len(found):
        raise ValueError(f'--grid {text!r} is not of the form option=value,value,... with different values')
    return axis, found


def check_template(template: str) -> None:
    """Refuse an evaluation command with an unknown placeholder, or without a place for its result.

    Raises:
        ValueError: names the placeholders found.
    """
    fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    if fields - PLACEHOLDERS or 'result' not in fields:
        raise ValueError(
            f'--then {template!r} has the placeholders {sorted(fields)}: it needs {{result}}, the JSON file to write, '
            'and may have {checkpoint}, {work_dir} and {seed}'
        )


def look_up(content: object, key: str, source: Path) -> float:
    """Find a number in a JSON file by its dotted key.

    Raises:
        ValueError: the key is not there, or is no number; the message says what is there.
    """
    for part in key.split('.'):
        if not isinstance(content, dict) or part not in content:
            there = ', '.join(content) if isinstance(content, dict) else repr(content)
            raise ValueError(f'{source} has no {part!r} of --metric {key}, where it has {there}')
        content = content[part]
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise ValueError(f'--metric {key} in {source} is no number but {content!r}')
    return float(content)


def keep_settings(args: argparse.Namespace) -> None:
    """Write the settings shared by all runs into the output directory, or compare them with those written there.

    Raises:
        ValueError: the directory holds a sweep of other settings; a larger grid or more seeds are allowed.
    """
    settings = {'config': args.config, 'fixed': args.fixed, 'data_root': args.data_root, 'amp': args.amp}
    file = args.out / 'sweep.json'
    if file.exists() and json.loads(file.read_text()) != settings:
        raise ValueError(f'{args.out} holds a sweep of other settings, see {file}: use another --out or delete it')
    args.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


def run_all(sweep: Sweep, gpus: Sequence[str]) -> None:
    """Do all runs, one at a time, or one at a time on each GPU."""
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
    for run in sweep.runs:
        waiting.put(run)
    environments = [{'CUDA_VISIBLE_DEVICES': gpu} for gpu in gpus] or [{}]
    cores = max(1, (os.cpu_count() or 1) // len(environments))
    workers = [Steps(sweep.args.out, cores, environment) for environment in environments]
    stopped = threading.Event()

    def work(steps: Steps) -> None:
        with contextlib.suppress(queue.Empty):
            while not stopped.is_set():
                sweep.do(waiting.get_nowait(), steps)

    def stop() -> None:
        stopped.set()
        for steps in workers:
            steps.stop()

    run_threads([threading.Thread(target=work, args=(steps,)) for steps in workers], stop)


def run_threads(threads: Sequence[threading.Thread], stop: Callable[[], None]) -> None:
    """Run threads to their end; after an interrupt, call ``stop`` until they have ended."""
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.2)
            threads[-1].join(0.2)
    finally:
        while any(thread.is_alive() for thread in threads):
            stop()
            for thread in threads:
                thread.join(0.2)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('--grid', metavar='OPTION=A,B', action='append', required=True, help='an axis; repeatable')
    parser.add_argument('--fixed', metavar='OPTION=A', nargs='+', default=[], help='set in all runs')
    parser.add_argument('--data-root', nargs='+', help='images to pretrain on')
    parser.add_argument('--amp', action='store_true', help='bf16 autocast')
    parser.add_argument('--then', metavar='COMMAND', help='evaluation: {checkpoint} {work_dir} {seed}; writes {result}')
    parser.add_argument('--metric', help='dotted key in the JSON of {result}; without --then a logged scalar')
    parser.add_argument('--seeds', type=seeds, default=[0], help='0,1,2')
    parser.add_argument('--gpus', type=lambda text: text.split(','), default=[], help='0,1: a run at a time on each')
    parser.add_argument('--out', type=Path, required=True, help='directory of all results')
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.then and not args.metric:
        parser.error('--then needs --metric, the key to read from its result')
    return args


def seeds(text: str) -> list[int]:
    """Read numbers separated by commas."""
    return [seed(part) for part in text.split(',')]


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep; returns the exit code, 2 if any run failed."""
    args = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not Path(args.config).is_file():
        raise ValueError(f'config {args.config}: there is no such file')
    try:
        sweep = Sweep(args)
        keep_settings(args)
        run_all(sweep, args.gpus)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f'stopped; run the same command again to continue in {args.out}') from stop
    sweep.write()
    for run, reason in sweep.failures.items():
        print(f'failed: {run.name}: {reason}', file=sys.stderr)
    print(f'{args.out / "sweep.csv"}, sweep.png: {len(sweep.measured)} of {len(sweep.runs)} runs')
    return 2 if sweep.failures else 0
