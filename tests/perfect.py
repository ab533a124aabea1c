"""The truth of a COCO file, handed to the evaluator of a config as predictions: every figure has to be 1."""

import json
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask


def as_mask(outline, height, width):
    if isinstance(outline, list):
        outline = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    elif isinstance(outline['counts'], list):
        outline = coco_mask.frPyObjects(outline, height, width)
    return coco_mask.decode(outline)


def predictions(image, annotations, labels, masks):
    """What a perfect detector returns for an image."""
    boxes = np.array([each['bbox'] for each in annotations], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    found = dict(
        bboxes=torch.tensor(boxes),
        scores=torch.ones(len(annotations)),
        labels=torch.tensor([labels[each['category_id']] for each in annotations], dtype=torch.long),
    )
    if masks:
        size = image['height'], image['width']
        drawn = [as_mask(each['segmentation'], *size) for each in annotations]
        found['masks'] = torch.tensor(np.array(drawn, dtype=bool).reshape(-1, *size))
    return found


def evaluate_truth(cfg):
    """Metrics of perfect predictions by ``cfg.val_evaluator``, as `apply_data_root` has set it up."""
    import mmdet.evaluation  # noqa: F401
    from mmdet.registry import METRICS

    metric = METRICS.build({**cfg.val_evaluator})
    metric.dataset_meta = dict(classes=cfg.val_dataloader.dataset.metainfo.classes)
    truth = json.loads(Path(cfg.val_evaluator.ann_file).read_text())
    labels = {category['id']: index for index, category in enumerate(truth['categories'])}
    for image in truth['images']:
        own = [each for each in truth['annotations'] if each['image_id'] == image['id'] and not each['iscrowd']]
        found = predictions(image, own, labels, 'segm' in metric.metrics)
        metric.process(
            {}, [dict(img_id=image['id'], ori_shape=(image['height'], image['width']), pred_instances=found)]
        )
    return metric.evaluate(len(truth['images']))
