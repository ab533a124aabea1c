"""Results of evaluations: one JSON, and one table per protocol."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

# protocol -> seed -> figure -> value
Results = dict[str, dict[str, dict[str, float]]]
# protocol, seed, figure -> value
Measured = tuple[str, int, dict[str, float]]


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as JSON; the file is written completely or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(json.dumps(content, indent=2) + '\n')
    part.replace(path)


def table(protocol: str, title: str, runs: dict[str, dict[str, float]]) -> str:
    """Table of one protocol: each figure with its mean over the seeds, its deviation (n - 1) and each seed's value."""
    lines = [f'{protocol}: {title}', f'{"":<14} {"mean":>8} {"spread":>8}   ' + '  '.join(f'seed {s:>3}' for s in runs)]
    for figure in next(iter(runs.values())):
        values = [run[figure] for run in runs.values()]
        spread = f'{statistics.stdev(values):8.2f}' if len(values) > 1 else f'{"-":>8}'
        each = '  '.join(f'{value:8.4g}' for value in values)
        lines.append(f'{figure:<14} {math.fsum(values) / len(values):8.4g} {spread}   {each}')
    return '\n'.join(lines)
