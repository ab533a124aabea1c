"""The results of a sweep as a table and a figure."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from downstream.report.curves import COLOURS


@dataclass(frozen=True)
class Row:
    """One run: the value of each axis in order, the seed, and the measured value, which is None if the run failed."""

    values: tuple[str, ...]
    seed: int
    measured: float | None


def write_table(path: Path, axes: Sequence[str], metric: str, rows: Sequence[Row]) -> None:
    """Write a CSV with one row per run; the last field of a failed run is empty."""
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow([*axes, 'seed', metric])
        writer.writerows([*row.values, row.seed, '' if row.measured is None else row.measured] for row in rows)


def draw_sweep(path: Path, axes: Sequence[str], metric: str, rows: Sequence[Row]) -> None:
    """Draw the first axis from left to right and a line for each combination of the others.

    Lines join the means over the seeds, bands reach from the least to the greatest value, and dots are single runs.
    """
    measured = [row for row in rows if row.measured is not None]
    figure = Figure(figsize=(5.6, 3.8), layout='constrained')
    plot = figure.subplots()
    lines = list(dict.fromkeys(row.values[1:] for row in measured))
    places = _places(list(dict.fromkeys(row.values[0] for row in measured)))
    for index, others in enumerate(lines):
        label = ', '.join(f'{short(axis)} {value}' for axis, value in zip(axes[1:], others, strict=True))
        runs = [(places[row.values[0]], row.measured) for row in measured if row.values[1:] == others]
        _draw_line(plot, [(x, y) for x, y in runs if y is not None], COLOURS[index % len(COLOURS)], label)
    plot.set_xticks(list(places.values()), list(places))
    plot.set_xlabel(short(axes[0]))
    plot.set_ylabel(metric)
    seeds = len({row.seed for row in measured})
    if seeds > 1:
        plot.set_title(f'mean and range of {seeds} seeds', fontsize=9)
    _dress(plot, legend=len(axes) > 1 and bool(lines))
    figure.savefig(path, dpi=110)


def short(axis: str) -> str:
    """Readable name of an option: ``model.decoder.depth`` becomes 'decoder depth'."""
    return axis.removeprefix('model.').replace('.', ' ').replace('_', ' ')


def _dress(plot: Axes, legend: bool) -> None:
    plot.grid(alpha=0.25)
    plot.spines[['top', 'right']].set_visible(False)
    if legend:
        plot.legend(frameon=False, fontsize=9)


def _draw_line(plot: Axes, runs: Sequence[tuple[float, float]], colour: str, label: str) -> None:
    xs = sorted({x for x, _ in runs})
    found = [[y for x, y in runs if x == place] for place in xs]
    plot.plot(xs, [mean(ys) for ys in found], color=colour, label=label)
    plot.fill_between(xs, [min(ys) for ys in found], [max(ys) for ys in found], color=colour, alpha=0.15, linewidth=0)
    plot.scatter([x for x, _ in runs], [y for _, y in runs], color=colour, s=12)


def _places(values: Sequence[str]) -> dict[str, float]:
    """Positions of the values from left to right: their numbers if all are numbers, else evenly spaced."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(index) for index, value in enumerate(values)}
