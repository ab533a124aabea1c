"""Draw objects and class maps over images.

Letters: H, W height and width of an image, z the factor of its enlargement.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy import ndarray

from downstream.report.labels import NO_CLASS, Instance

ZOOM = 3
Colour = tuple[int, int, int]


def class_colours(names: Sequence[str]) -> dict[str, Colour]:
    """One BGR colour per class, spread over the hues."""
    hsv = np.array([[(180 * i / len(names), 150 + 70 * (i % 2), 235 - 60 * (i % 3)) for i in range(len(names))]])
    bgr = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)[0]
    return {name: (int(b), int(g), int(r)) for name, (b, g, r) in zip(names, bgr, strict=True)}


def enlarge(image: ndarray, zoom: int = ZOOM) -> ndarray:
    """Enlarge an image (H, W, 3) to (z H, z W, 3)."""
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)


def draw_instances(image: ndarray, instances: Sequence[Instance], colours: Mapping[str, Colour]) -> ndarray:
    """Draw masks, boxes and names over an image BGR (H, W, 3): (z H, z W, 3), with the last instance on top."""
    canvas = enlarge(image)
    for instance in instances:
        mask = cv2.resize(instance.mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if not mask.any():
            continue
        colour = colours[instance.name]
        canvas[mask > 0] = (0.5 * canvas[mask > 0] + 0.5 * np.array(colour)).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outline, -1, colour, 2, cv2.LINE_AA)
    for instance in instances:
        if instance.mask.any():
            _draw_box(canvas, instance, colours[instance.name])
    return canvas


def _draw_box(canvas: ndarray, instance: Instance, colour: Colour) -> None:
    rows, columns = np.flatnonzero(instance.mask.any(1)) * ZOOM, np.flatnonzero(instance.mask.any(0)) * ZOOM
    left, top, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1] + ZOOM, rows[-1] + ZOOM))
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1, cv2.LINE_AA)
    text = instance.name if instance.score is None else f'{instance.name} {instance.score:.2f}'
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    left, top = max(min(left, canvas.shape[1] - width - 4), 0), max(top, height + 4)
    cv2.rectangle(canvas, (left, top - height - 4), (left + width + 4, top), colour, cv2.FILLED)
    ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    cv2.putText(canvas, text, (left + 2, top - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)


def draw_classes(image: ndarray, classes: ndarray, colours: Sequence[Colour]) -> ndarray:
    """Tint an image BGR (H, W, 3) by the class index (H, W) of its pixels, except `NO_CLASS`: (z H, z W, 3)."""
    canvas = enlarge(image)
    large = cv2.resize(classes, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    labelled = large != NO_CLASS
    tint = np.array(colours)[large[labelled]]
    canvas[labelled] = (0.35 * canvas[labelled] + 0.65 * tint).astype(np.uint8)
    return canvas
