"""Run command lines side by side, each once: a command that succeeded is not run again."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.console.places import HOME

SHOW_EVERY = 20.0  # seconds between two lines of progress
STAMP = re.compile(r'^\S+ \S+ - mmengine - INFO - ')


@dataclass(frozen=True)
class Command:
    """A command line, and a name under which it is marked as done."""

    name: str
    argv: tuple[str, ...]


def command_line(name: str, *arguments: object) -> tuple[str, ...]:
    """Make the command line of one of our own commands, for `Steps`."""
    return (sys.executable, '-m', 'downstream.cli', name, *map(str, arguments))


@dataclass
class Running:
    """A command that is running."""

    command: Command
    process: subprocess.Popen
    log: Path
    start: float


class Steps:
    """Runs commands below a working directory, with a log and a mark of completion for each.

    Args:
        work_dir: the directory in which ``logs`` and ``done`` are made.
        cores: processor cores that the commands running at once share.
        environment: variables to set for the commands.
    """

    def __init__(self, work_dir: Path, cores: int, environment: Mapping[str, str] | None = None) -> None:
        self.logs, self.marks = work_dir / 'logs', work_dir / 'done'
        self.cores = cores
        self.environment = environment or {}
        self.running: list[Running] = []
        self.start = time.monotonic()
        for folder in (self.logs, self.marks):
            folder.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f'[{minutes:02d}:{seconds:02d}] {text}', flush=True)

    def run(self, title: str, commands: Sequence[Command]) -> None:
        """Run the commands that are not done yet, at most two at once.

        Raises:
            RuntimeError: a command failed; the message ends with its last line.
        """
        waiting = [command for command in commands if not self._mark(command).exists()]
        self.say(title + ('' if waiting else ': done before'))
        slots = min(2, len(waiting), self.cores)
        try:
            while waiting or self.running:
                while waiting and len(self.running) < slots:
                    self.running.append(self._launch(waiting.pop(0), max(1, self.cores // slots)))
                self.running = self._watch(self.running)
        finally:
            self.stop()
            self.running = []

    def stop(self) -> None:
        """End the running commands; a `run` in another thread then raises."""
        for each in self.running:
            each.process.terminate()
            each.process.wait()

    def _mark(self, command: Command) -> Path:
        return self.marks / f'{command.name}.json'

    def _launch(self, command: Command, threads: int) -> Running:
        log = self.logs / f'{command.name}.log'
        print(f'  $ {" ".join(command.argv)}\n    log: {log}', flush=True)
        # Threads that spin while they wait would take the cores from the threads that work.
        threading = {'OMP_NUM_THREADS': str(threads), 'OMP_WAIT_POLICY': 'PASSIVE'}
        # Set so that a checkout need not be installed.
        path = os.pathsep.join(filter(None, [str(HOME), os.environ.get('PYTHONPATH')]))
        environment = {**os.environ, **threading, 'PYTHONPATH': path, **self.environment}
        with log.open('a') as file:
            process = subprocess.Popen(command.argv, stdout=file, stderr=subprocess.STDOUT, env=environment)
        return Running(command, process, log, time.monotonic())

    def _watch(self, running: Sequence[Running]) -> list[Running]:
        """Wait until a command ends, and print the progress of all; return those that still run."""
        shown = time.monotonic()
        while all(each.process.poll() is None for each in running):
            time.sleep(0.1)
            if time.monotonic() - shown > SHOW_EVERY:
                shown = time.monotonic()
                for each in running:
                    self.say(f'  {each.command.name}: {last_progress(each.log)}')
        for each in running:
            if each.process.poll() is not None:
                self._finish(each)
        return [each for each in running if each.process.poll() is None]

    def _finish(self, ended: Running) -> None:
        if ended.process.returncode:
            lines = ended.log.read_text(errors='replace').splitlines() or ['nothing']
            raise RuntimeError(f'{ended.command.name} failed, see {ended.log}; it ends with {lines[-1]}')
        seconds = round(time.monotonic() - ended.start, 1)
        self._mark(ended.command).write_text(json.dumps({'argv': ended.command.argv, 'seconds': seconds}))
        self.say(f'  {ended.command.name}: done in {seconds:.0f} s')


def last_progress(log: Path) -> str:
    """Newest log line that tells the time left, without its time stamp; 'starting' if there is none yet."""
    lines = [line for line in log.read_text(errors='replace').splitlines() if 'eta:' in line]
    return ' '.join(STAMP.sub('', lines[-1]).split()) if lines else 'starting'
