"""Set how many objects a detector returns for an image, from how many the annotations have."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config

# New images may hold more objects than the annotated ones.
ROOM = 1.5
STEP = 100
# mmdet's default.
PROPOSALS = (100, 300, 1000)


def raise_limits(cfg: Config, most: int, evaluators: Iterable[Any]) -> list[str]:
    """Raise ``max_per_img`` if an annotated image holds more objects; return one line per thing set.

    Args:
        cfg: changed in place.
        most: largest number of objects in an image.
        evaluators: the config's evaluators, whose number of detections is raised too.
    """
    done = []
    for path, node in _limits(cfg.model.get('test_cfg'), 'model.test_cfg'):
        # The second stage reduces the first stage's proposals to objects.
        wanted = (2 if path.endswith('.rpn') else 1) * STEP * math.ceil(ROOM * most / STEP)
        if node['max_per_img'] >= (2 * most if path.endswith('.rpn') else most):
            continue
        for key in ('max_per_img', 'nms_pre'):
            if key in node and node[key] < wanted:
                node[key] = wanted
                done.append(f'{path}.{key} = {wanted} (an image holds {most} objects)')
    for evaluator in evaluators:
        # The evaluation ranks an image's detections and cuts them again.
        *fewer, last = evaluator.get('proposal_nums', PROPOSALS)
        if most > last:
            evaluator['proposal_nums'] = [*fewer, STEP * math.ceil(ROOM * most / STEP)]
    return done


def _limits(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get('max_per_img') is not None:
            yield path, node
        for key, value in node.items():
            yield from _limits(value, f'{path}.{key}')
