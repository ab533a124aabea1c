"""Box suppression, in place of the compiled functions behind ``mmcv.ops.nms``, ``soft_nms`` and ``nms_match``.

Like compiled mmcv, all functions work in float32 and compare IoU with a float32 threshold.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor

# Number of sorted boxes handled at a time; memory holds BLOCK x N pairs.
BLOCK = 1024


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that greedy suppression keeps, highest score first.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2, any floating dtype.
        scores: (N,).
        iou_threshold: a box whose IoU with a kept one is above this is dropped.
        offset: added to every width and height, 0 or 1.

    Returns:
        (K,) int64.
    """
    boxes, scores = boxes.float(), scores.float()
    threshold = float(np.float32(iou_threshold))
    if offset == 0:
        return torchvision.ops.nms(boxes, scores, threshold)
    # Moving x2, y2 by the offset and calling torchvision would round differently at IoU ties.
    order = scores.argsort(descending=True, stable=True)
    return order[_greedy(boxes[order], threshold, offset)]


def _greedy(boxes: Tensor, threshold: float, offset: int) -> Tensor:
    """Which of the boxes (N, 4), best first, survive: (N,) bool."""
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for start in range(0, len(boxes), BLOCK):
        stop = start + BLOCK
        block = boxes[start:stop]
        # (B, B): a better box of the block covers a worse one
        covers = (_iou(block, block, offset) > threshold).triu(1)
        candidates = alive[start:stop]
        kept = candidates
        while True:
            # The right answer is the only fixed point. Position i is right after i rounds; in practice few rounds do.
            update = candidates & ~(covers & kept[:, None]).any(0)
            if torch.equal(update, kept):
                break
            kept = update
        alive[start:stop] = kept
        alive[stop:] &= ~(_iou(block[kept], boxes[stop:], offset) > threshold).any(0)
    return alive


def _iou(first: Tensor, second: Tensor, offset: int) -> Tensor:
    """IoU (N, M) of boxes (N, 4) and (M, 4), in compiled mmcv's order of operations."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low + offset).clamp(min=0).prod(-1)
    area_first = (first[:, 2:] - first[:, :2] + offset).prod(-1)
    area_second = (second[:, 2:] - second[:, :2] + offset).prod(-1)
    return common / (area_first[:, None] + area_second - common)


def _iou_one(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """IoU of a box (4,) with others (N, 4), in numpy, which is faster than torch on small arrays."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + np.float32(offset)
    common = np.maximum(size, 0).prod(-1)
    area = (box[2:] - box[:2] + np.float32(offset)).prod()
    areas = (others[:, 2:] - others[:, :2] + np.float32(offset)).prod(-1)
    with np.errstate(divide='ignore', invalid='ignore'):
        return common / (area + areas - common)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of box indices: each kept box followed by those it suppresses (IoU at or above the threshold).

    Args:
        dets: (N, 5) as x1, y1, x2, y2, score.
        iou_threshold: compared in float32.
    """
    table = dets.detach().float().cpu()
    waiting = table[:, 4].argsort(descending=True, stable=True).numpy()
    boxes = table[:, :4].numpy()
    groups = []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        covered = _iou_one(boxes[best], boxes[rest], 0) >= np.float32(iou_threshold)
        groups.append([int(best), *rest[covered].tolist()])
        waiting = rest[~covered]
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Suppression that lowers scores instead of dropping boxes (Bodla et al., "Soft-NMS", 2017).

    Args:
        boxes: (N, 4) on the CPU.
        scores: (N,).
        dets: (N, 5); its first K rows receive box and lowered score of the kept boxes.
        iou_threshold: used by the naive and the linear method.
        sigma: width of the Gaussian method.
        min_score: boxes whose score falls below this are dropped.
        method: 0 naive, 1 linear, 2 Gaussian.
        offset: added to every width and height, 0 or 1.

    Returns:
        (K,) int64 indices into the input, in the order in which the boxes were chosen.
    """
    # one row per candidate: x1, y1, x2, y2, score
    table = torch.cat([boxes, scores[:, None]], 1).float().numpy()
    indices = np.arange(len(table))
    done = 0
    while done < len(table):
        best = done + _first_largest(table[done:, 4])
        table[[done, best]] = table[[best, done]]
        indices[[done, best]] = indices[[best, done]]
        done += 1
        ious = _iou_one(table[done - 1, :4], table[done:, :4], offset)
        table[done:, 4] *= _decay(ious, np.float32(iou_threshold), np.float32(sigma), method)
        low = table[done:, 4] < np.float32(min_score)
        if low.any():
            order = np.concatenate([np.arange(done), done + _fill_holes(~low)])
            table, indices = table[order], indices[order]
    dets[: len(table)] = torch.from_numpy(table)
    return torch.from_numpy(indices)


def _first_largest(scores: np.ndarray) -> int:
    """Result of a scan that moves on to strictly larger scores only: NaN wins in front and loses elsewhere."""
    if np.isnan(scores[0]):
        return 0
    return int(np.where(np.isnan(scores), -np.inf, scores).argmax())


def _decay(ious: np.ndarray, threshold: np.float32, sigma: np.float32, method: int) -> np.ndarray:
    if method == 2:
        return np.exp(-(ious * ious) / sigma)
    return np.where(ious >= threshold, 1 - ious if method == 1 else 0, 1).astype(np.float32)


def _fill_holes(alive: np.ndarray) -> np.ndarray:
    """Order that results if each dropped entry is replaced by the last one, as in compiled mmcv."""
    count = int(alive.sum())
    order = np.arange(count)
    holes = np.flatnonzero(~alive[:count])
    order[holes] = count + np.flatnonzero(alive[count:])[::-1]
    return order
