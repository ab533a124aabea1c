"""The report of the quickstart: the results of its runs on disk, on one page."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
from numpy import ndarray

from downstream.report import curves, page
from downstream.report.labels import CocoScenes, read_class_map
from downstream.report.overlays import class_colours, draw_classes, draw_instances, enlarge
from downstream.study.methods import MAE, Method

ARMS = ('random', 'pretrained')
SCENES_SHOWN = 5
OBJECTS_SHOWN = 3
TITLE = 'Does pretraining help?'
SUBTITLE = (
    'A plain ViT learns from unlabelled scenes {idea}. Then it becomes the backbone of a detector and of a segmentor, '
    'which are trained on few labelled scenes; next to them, the same from random weights.'
)
FAIRNESS = (
    'Both rows have the same labelled scenes, iterations, learning rate and seed. In percent, on scenes that no '
    'training has seen; one run each.'
)


@dataclass(frozen=True)
class Results:
    """The places of the quickstart's files for a method, below its working directory."""

    root: Path
    method: Method = MAE

    @property
    def shapes(self) -> Path:
        """The drawn scenes."""
        return self.root / 'shapes'

    @property
    def pretraining(self) -> Path:
        """The run of the pretraining."""
        return self.root / self.method.name

    @property
    def tokenizer(self) -> Path:
        """The run of the image tokenizer, for methods that have one."""
        return self.root / 'tokenizer'

    @property
    def titles(self) -> dict[str, str]:
        """The title of each arm."""
        return {'random': 'random weights', 'pretrained': f'{self.method.title}-pretrained'}

    @property
    def reconstruction(self) -> Path:
        """Picture of `dense-mae reconstruct`."""
        return self.root / 'reconstruction.png'

    def training(self, model: str, arm: str) -> Path:
        """The fine-tuning of a model ('mask_rcnn', 'upernet') from an arm's weights."""
        return self.root / f'{model}_{arm}'

    def evaluation(self, model: str, arm: str) -> Path:
        """The metrics and predictions of that model."""
        return self.training(model, arm) / 'evaluation'


def write_report(results: Results, commands: list[str]) -> Path:
    """Write ``report.html`` and return its path; ``commands`` are the command lines that were run."""
    sections = [
        scores(results),
        loss_curves(results),
        reconstructions(results),
        detections(results),
        segmentations(results),
        page.section('Commands', 'Everything above comes from these.', page.listing(commands)),
    ]
    out = results.root / 'report.html'
    out.write_text(page.page(TITLE, SUBTITLE.format(idea=results.method.idea), sections))
    return out


def scores(results: Results) -> str:
    """Table of all metrics: one row per arm, and their difference."""
    rows = {arm: read_scores(results, arm) for arm in ARMS}
    header = ['backbone starts from', *rows['random']]
    body = [[title, *(f'{value:.1f}' for value in rows[arm].values())] for arm, title in results.titles.items()]
    gain = [f'{rows["pretrained"][name] - rows["random"][name]:+.1f}' for name in rows['random']]
    return page.section('Result', FAIRNESS, page.table(header, [*body, ['gain', *gain]]))


def read_scores(results: Results, arm: str) -> dict[str, float]:
    """Box AP, box AP50, mask AP and mIoU of an arm, in percent."""
    coco = json.loads((results.evaluation('mask_rcnn', arm) / 'metrics.json').read_text())
    ade = json.loads((results.evaluation('upernet', arm) / 'metrics.json').read_text())
    boxes = {'box AP': 'coco/bbox_mAP', 'box AP50': 'coco/bbox_mAP_50', 'mask AP': 'coco/segm_mAP'}
    return {**{name: 100 * coco[key] for name, key in boxes.items()}, 'mIoU': ade['mIoU']}


def loss_curves(results: Results) -> str:
    """Loss of the pretraining and of both fine-tunings."""
    panels = [
        (f'{results.method.title} pretraining', {'pretraining': curves.read_scalars(results.pretraining)['loss']})
    ]
    for model, title in (('mask_rcnn', 'Mask R-CNN'), ('upernet', 'UperNet')):
        panels.append(
            (
                title,
                {
                    name: curves.read_scalars(results.training(model, arm))['loss']
                    for arm, name in results.titles.items()
                },
            )
        )
    body = page.picture(curves.draw_curves(panels), 'png', 'loss curves')
    return page.section('Training loss', 'Averaged over the last iterations; less is better.', body)


def reconstructions(results: Results) -> str:
    """The picture of `dense-mae reconstruct`."""
    picture = page.picture(results.reconstruction.read_bytes(), 'png', 'masked scenes')
    return page.section('Reconstruction', results.method.picture, picture)


def detections(results: Results) -> str:
    """Pictures of some scenes with the true objects and those of both detectors."""
    coco = results.shapes / 'coco'
    scenes = CocoScenes(coco / 'annotations' / 'instances_val.json')
    colours = class_colours(list(scenes.names.values()))
    rows = []
    for image_id in list(scenes.files)[:SCENES_SHOWN]:
        image = read_image(coco / 'images' / 'val' / scenes.files[image_id])
        shown = [scenes.truth(image_id)]
        for arm in ARMS:
            file = results.evaluation('mask_rcnn', arm) / 'predictions.segm.json'
            shown.append(scenes.results(file, image_id, OBJECTS_SHOWN))
        drawn = [draw_instances(image, instances, colours) for instances in shown]
        rows.append([page.photo(each, 'objects in a scene') for each in drawn])
    text = (
        f'The {OBJECTS_SHOWN} surest objects of each detector, with their scores: a budget of minutes leaves these low.'
    )
    header = ['ground truth', *results.titles.values()]
    return page.section('Detection: Mask R-CNN', text, page.legend(colours) + page.grid(header, rows))


def segmentations(results: Results) -> str:
    """Pictures of some scenes with the true class maps and those of both segmentors."""
    ade = results.shapes / 'ade'
    colours = class_colours((ade / 'classes.txt').read_text().split())
    rows = []
    for path in sorted((ade / 'images' / 'validation').iterdir())[:SCENES_SHOWN]:
        image = read_image(path)
        maps = [read_class_map(ade / 'annotations' / 'validation' / f'{path.stem}.png')]
        for arm in ARMS:
            maps.append(read_class_map(results.evaluation('upernet', arm) / 'predictions' / f'{path.stem}.png'))
        drawn = [enlarge(image), *(draw_classes(image, each, list(colours.values())) for each in maps)]
        rows.append([page.photo(each, 'classes in a scene') for each in drawn])
    text = 'The class of every pixel, backgrounds included.'
    header = ['scene', 'ground truth', *results.titles.values()]
    return page.section('Segmentation: UperNet', text, page.legend(colours) + page.grid(header, rows))


def read_image(path: Path) -> ndarray:
    """Read an image as BGR (H, W, 3).

    Raises:
        ValueError: it cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f'{path} cannot be read')
    return image
