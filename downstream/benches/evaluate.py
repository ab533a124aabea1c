"""COCO evaluation in C++ against pycocotools, on drawn detections."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, ratio, summary

HEIGHT, WIDTH, CLASSES = 480, 640, 80
SIDES = (8, 320)
MOST_DETECTIONS = 100
FIGURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl')
TOLERANCE = 1e-12


def draw_box(rng: np.random.Generator) -> np.ndarray:
    """Draw a box (x, y, w, h) inside the image; small boxes are as likely as large ones."""
    size = np.exp(rng.uniform(*np.log(SIDES), 2))
    return np.concatenate([rng.random(2) * ((WIDTH, HEIGHT) - size), size])


def draw_mask(box: np.ndarray) -> dict:
    """Draw the ellipse of a box, as COCO's run lengths."""
    from pycocotools.mask import encode

    # Drawn transposed, because COCO counts down the columns and OpenCV draws in rows.
    mask = np.zeros((WIDTH, HEIGHT), dtype=np.uint8)
    x, y, w, h = (float(value) for value in box)
    cv2.ellipse(mask, ((y + h / 2, x + w / 2), (max(h, 2), max(w, 2)), 0), 1, -1)
    rle = encode(mask.T)
    return {'size': [HEIGHT, WIDTH], 'counts': rle['counts'].decode()}


def draw_objects(images: int, rng: np.random.Generator) -> Iterator[dict]:
    """Draw about seven objects per image, none in some images; one object in fifty is a crowd."""
    for image in range(1, images + 1):
        for _ in range(rng.poisson(7) * (rng.random() > 0.05)):
            box = draw_box(rng)
            mask = draw_mask(box)
            yield dict(
                image_id=image,
                category_id=int(rng.integers(1, CLASSES + 1)),
                bbox=box.tolist(),
                area=float(box[2] * box[3]),
                iscrowd=int(rng.random() < 0.02),
                segmentation=mask,
            )


def draw_detections(images: int, objects: Sequence[dict], rng: np.random.Generator) -> Iterator[dict]:
    """Draw 20 to 100 detections per image: slightly moved objects of the same class, and random boxes."""
    for image in range(1, images + 1):
        here = [each for each in objects if each['image_id'] == image]
        for _ in range(rng.integers(20, MOST_DETECTIONS + 1)):
            box, label = draw_box(rng), int(rng.integers(1, CLASSES + 1))
            if here and rng.random() < 0.4:
                found = here[rng.integers(len(here))]
                size = np.tile(found['bbox'][2:], 2)
                box, label = np.array(found['bbox']) + rng.normal(0, 0.05, 4) * size, found['category_id']
                box[2:] = np.maximum(box[2:], 1)
            score = float(rng.random())
            yield dict(image_id=image, category_id=label, score=score, bbox=box.tolist(), segmentation=draw_mask(box))


def draw(images: int, seed: int = 0) -> tuple[dict, list[dict]]:
    """Draw a data set in COCO's format and detections in it."""
    rng = np.random.default_rng(seed)
    objects = [{'id': index + 1, **each} for index, each in enumerate(draw_objects(images, rng))]
    content = dict(
        images=[dict(id=index + 1, height=HEIGHT, width=WIDTH) for index in range(images)],
        annotations=objects,
        categories=[dict(id=index + 1, name=f'class {index + 1}') for index in range(CLASSES)],
    )
    return content, list(draw_detections(images, objects, rng))


def evaluator(evaluation: type, content: dict, detections: list[dict], kind: str) -> Callable[[], np.ndarray]:
    """Make a function that computes COCO's 12 figures of boxes or masks from loaded annotations and detections."""
    from pycocotools.coco import COCO

    other = {'bbox': 'segmentation', 'segm': 'bbox'}[kind]

    def run() -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            # Copies, because both libraries modify their input.
            truth.dataset = {**content, 'annotations': [dict(each) for each in content['annotations']]}
            truth.createIndex()
            mine = [{key: value for key, value in each.items() if key != other} for each in detections]
            found = evaluation(truth, truth.loadRes(mine), kind)
            found.evaluate()
            found.accumulate()
            found.summarize()
        return np.array(found.stats)

    return run


def run_coco(images: int, seconds: float) -> Sequence[Finding]:
    """Time of boxes and masks together, and the figures."""
    from pycocotools.cocoeval import COCOeval

    from backbones.openmmlab.speedups.coco_eval import FastCOCOeval

    drawn = draw(images)
    runs = {
        name: [evaluator(evaluation, *drawn, kind) for kind in ('bbox', 'segm')]
        for name, evaluation in (('ours', FastCOCOeval), ('peer', COCOeval))
    }
    figures = {name: np.stack([run() for run in pair]) for name, pair in runs.items()}
    difference = float(np.abs(figures['ours'] - figures['peer']).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f'figures of COCO: ours and the peer differ by {difference:.2g} > {TOLERANCE}: not timed')
    taken = alternate({name: lambda pair=pair: [run() for run in pair] for name, pair in runs.items()}, seconds)
    detail = {name: summary(values) | named(figures[name]) for name, values in taken.items()}
    counts = {'images': images, 'objects': len(drawn[0]['annotations']), 'detections': len(drawn[1])}
    return [(ratio(taken), detail | counts | {'difference': difference})]


def named(figures: np.ndarray) -> dict[str, dict[str, float]]:
    """COCO's 12 figures of boxes and masks by name."""
    rows = zip(('bbox', 'segm'), figures.tolist(), strict=True)
    return {kind: dict(zip(FIGURES, (round(value, 4) for value in row), strict=True)) for kind, row in rows}


BENCHES = (
    Bench(
        (Claim('COCO evaluation, 1,000 images with masks', 'pycocotools', 'cpu', '<= 0.35 x time'),),
        partial(run_coco, 1000),
        needs=('pycocotools', 'faster_coco_eval'),
    ),
)
