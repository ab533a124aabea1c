"""Loss and score curves from the files that mmengine's runs leave on disk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

Series = list[tuple[int, float]]
COLOURS = ('#b0563a', '#2b6cb0', '#4a7c59', '#805ad5')


def read_scalars(work_dir: Path) -> dict[str, Series]:
    """Read all scalars that the runs in ``work_dir`` logged.

    A resumed run writes its own file. The files are read in the order of their runs, and a step that was logged twice
    keeps its last value.

    Returns:
        name -> [(step, value), ...] with rising steps.
    """
    found: dict[str, dict[int, float]] = {}
    for record in _records(work_dir):
        for name, value in record.items():
            if isinstance(value, int | float) and name != 'step':
                found.setdefault(name, {})[record['step']] = float(value)
    return {name: sorted(values.items()) for name, values in found.items()}


def _records(work_dir: Path) -> Iterator[dict]:
    """Each line that the runs logged, oldest first."""
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        yield from map(json.loads, path.read_text().splitlines())


def draw_curves(panels: Sequence[tuple[str, Mapping[str, Series]]]) -> bytes:
    """Draw panels side by side as a PNG; each panel is a title and its series by name.

    Series with the same name have the same colour in all panels.
    """
    names = list(dict.fromkeys(name for _, curves in panels for name in curves))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    figure = Figure(figsize=(4.2 * len(panels), 3.1), layout='constrained')
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, series in curves.items():
            # The marker shows the single point of a very short run.
            axes.plot(*zip(*series, strict=True), label=name, color=colours[name], marker='o', markersize=3)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel('iteration')
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return buffer.getvalue()
