"""``--img-size``: set one size in model, crops and pipelines, for any task."""

from collections.abc import Callable, Iterator
from typing import Any

from mmengine.config import Config

from backbones.data.pointing.datasets import inner_datasets, type_name

DEFAULT = 224  # img_size of PlainViT
# Arguments of mmdet's and mmseg's transforms that are sizes in pixels.
TRANSFORM_SIZES = ('scale', 'scales', 'img_scale', 'crop_size', 'size')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Crop types of mmdet whose crop_size is a share, not in pixels.
SHARES = ('relative', 'relative_range')


def set_image_size(cfg: Config, size: int) -> list[str]:
    """Set the size of images in every place of a config.

    These are the backbone's (or encoder's) grid, crops of pretraining and fine-tuning, views for a tokenizer, scales
    and crops of detection and segmentation pipelines, padding and sliding windows. Other sizes keep their ratio to the
    model's: a scale of (2048, 512) for 512 px becomes (1024, 256) for 256.

    Args:
        cfg: changed in place.
        size: side in pixels, a multiple of the patch.

    Returns:
        a line that says what was set.

    Raises:
        ValueError: the size does not fit the patch, or a part of the config has no size to set.
    """
    vit = _vit(cfg)
    patch = vit.get('patch_size', 16) if vit is not None else 8
    if size < patch or size % patch:
        raise ValueError(f'--img-size {size} is no multiple of the patch of {patch} px')
    before = (
        _side(vit.get('img_size', DEFAULT)) if vit is not None else _side(_dataset_of(cfg).get('crop_size', DEFAULT))
    )
    scale = _scaler(before, size)
    places = []
    if vit is not None:
        vit.img_size = size
        places.append('model')
    places += _set_model(cfg.model, before, size, scale)
    for name in LOADERS:
        loader = cfg.get(name)
        if loader is not None:
            _set_dataset(loader.dataset, name, size, scale)
            places.append(name)
    return [f'images of {size} px (instead of {before}): {", ".join(places)}']


def check_image_size(cfg: Config) -> list[str]:
    """Warn if images are cut to another size than the model is built for, so that positions are resampled."""
    vit = cfg.model.get('backbone') or cfg.model.get('encoder') or {}
    if vit.get('type') != 'PlainViT' or not cfg.get('train_dataloader'):
        return []
    dataset = _dataset_of(cfg)
    cut = dataset.get('crop_size') or (dataset.get('transform') or {}).get('size')
    built = vit.get('img_size', DEFAULT)
    if cut is None or _pair(cut) == _pair(built):
        return []
    return [
        f'warning: images are cut to {cut} px and the model is built for {built}: its positions are resampled, and '
        f'what reads the checkpoint later takes images of {built} px. --img-size {_side(cut)} sets both'
    ]


def _vit(cfg: Config) -> Any:
    """Config of the `PlainViT`; None for an image tokenizer, which has no size.

    Raises:
        ValueError: the model has neither.
    """
    if 'tokenizer' in cfg.model and 'encoder' not in cfg.model:
        return None
    vit = cfg.model.get('backbone') or cfg.model.get('encoder')
    if vit is None or vit.get('type') != 'PlainViT':
        kind = cfg.model.get('type') if vit is None else vit.get('type')
        raise ValueError(f'--img-size sets PlainViT, this config has {kind}: set its sizes by --cfg-options')
    return vit


def _set_model(model: Any, before: int, size: int, scale: Callable[[Any], Any]) -> list[str]:
    """Set padding, crops of the preprocessor and sliding windows."""
    places = []
    preprocessor, test = model.get('data_preprocessor') or {}, model.get('test_cfg') or {}
    if preprocessor.get('pad_size_divisor') == before:  # padded to whole images, as ViTDet is
        preprocessor['pad_size_divisor'] = size
        places.append('pad_size_divisor')
    for owner, names in ((preprocessor, ('size',)), (test, ('crop_size', 'stride'))):
        for name in names:
            if owner.get(name) is not None:
                owner[name] = scale(owner[name])
                places.append(name)
    return places


def _set_dataset(dataset: Any, where: str, size: int, scale: Callable[[Any], Any]) -> None:
    for inner in inner_datasets(dataset):
        transform, pipeline = inner.get('transform'), inner.get('pipeline')
        if pipeline is not None:
            found = sum(_set_transform(step, scale) for step in pipeline)
        elif isinstance(transform, dict):
            transform['size'], found = size, 1
        elif type_name(inner) in CROPPED:
            for name in ('token_size', 'crop_size'):
                if name in inner:
                    inner[name] = scale(inner[name])
            inner['crop_size'], found = size, 1
        else:
            found = 0
        if not found:
            raise ValueError(f'--img-size finds no size to set in {where}.dataset ({inner.get("type")})')


# Data sets of pretraining that cut views; a token cache has fixed views.
CROPPED = ('UnlabelledImages', 'ShardedImages')


def _set_transform(step: Any, scale: Callable[[Any], Any]) -> int:
    """Scale the sizes in a transform and in those inside it; return their number."""
    found = 0
    for name, value in step.items():
        if name in TRANSFORM_SIZES and value is not None and step.get('crop_type') not in SHARES:
            step[name] = scale(value)
            found += 1
        elif name == 'transforms':
            found += sum(_set_transform(inner, scale) for inner in _flat(value))
    return found


def _flat(transforms: Any) -> Iterator[Any]:
    for entry in transforms:
        if isinstance(entry, list | tuple):
            yield from _flat(entry)
        else:
            yield entry


def _dataset_of(cfg: Config) -> Any:
    return inner_datasets(cfg.train_dataloader.dataset)[0]


def _scaler(before: int, size: int) -> Callable[[Any], Any]:
    def scale(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(scale(item) for item in value)
        return round(value * size / before)

    return scale


def _side(size: Any) -> int:
    return int(max(size)) if isinstance(size, list | tuple) else int(size)


def _pair(size: Any) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)
