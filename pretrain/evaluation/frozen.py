"""A frozen backbone and the features of a labelled set, computed once.

Letters: B batch, V views, M images, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from backbones.checkpoint.config_text import read_model_config, trained_size
from backbones.checkpoint.load import load_encoder, read_checkpoint
from backbones.checkpoint.options import model_options
from backbones.checkpoint.recognise import EncoderFile, recognise
from backbones.vit import PlainViT
from backbones.vit.variants import Size
from pretrain.data.randomness import seed_worker

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
# Options that only training needs.
TRAINING_OPTIONS = ('type', 'init_cfg', 'drop_path_rate', 'frozen_blocks', 'act_checkpoint', 'out_norm', 'out_indices')


@dataclass(frozen=True)
class Frozen:
    """A backbone in evaluation mode with its final norm, the normalisation of its images, and their size in pixels."""

    vit: PlainViT
    normalise: nn.Module
    size: Size

    def prepare(self, images: Tensor) -> Tensor:
        """Normalise uint8 images (B, 3, h, w) on the model's device."""
        batch = {'inputs': images.to(self.vit.patch_embed.proj.weight.device)}
        return self.normalise(batch)['inputs']


def random_model(variant: str, img_size: Size, seed: int) -> Frozen:
    """Build a backbone with random weights from the seed; PyTorch's own generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        vit = PlainViT(variant, img_size, out_norm=True)
    return Frozen(vit.eval(), ImgDataPreprocessor(**IMAGENET), img_size)


@dataclass(frozen=True)
class Description:
    """The description of a checkpoint's model: arguments of `PlainViT`, mean and std of its images, their size."""

    options: dict[str, Any]
    statistics: dict[str, list[float]]
    size: Size


def describe(
    content: dict[str, Any],
    source: str,
    variant: str | None = None,
    img_size: Size | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Description:
    """Find out how to build the backbone in a checkpoint.

    Our own checkpoints contain a config, which is parsed as plain values and never run. Other files are described by
    their shapes.

    Args:
        content: content of the checkpoint.
        source: its name, for messages.
        variant: see `load_frozen`.
        img_size: see `load_frozen`.
        key: see `load_frozen`.
        prefix: see `load_frozen`.

    Raises:
        ValueError: the checkpoint holds no ViT, or one that is not of ``variant``.
    """
    meta = content.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    config = read_model_config(text) if text else {}
    told = config.get('encoder', config.get('backbone'))
    options = _own_options(told, source) if config else _options_of_shapes(recognise(content, source, key, prefix))
    if variant is not None and options.setdefault('variant', variant) != variant:
        raise ValueError(f'{source} is of variant {options["variant"]!r}, not {variant!r}: leave --variant out')
    size = options.setdefault('img_size', img_size or 224)
    statistics = {**IMAGENET, **(config.get('data_preprocessor') or {})}
    seen = trained_size(text) if config and text else None
    return Description(options, {key: list(statistics[key]) for key in IMAGENET}, img_size or seen or size)


def load_frozen(
    path: str | Path,
    variant: str | None = None,
    img_size: Size | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Frozen:
    """Load a backbone as `load_pretrained` does, built as `describe` says.

    Args:
        path: see `load_pretrained`.
        variant: a key of `backbones.vit.variants.VARIANTS`; None takes the variant from the file.
        img_size: size of the images to evaluate, to which positions are resampled; None takes the size of the training
            crops.
        key: see `load_pretrained`.
        prefix: see `load_pretrained`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see `describe` and `load_pretrained`.
    """
    content = read_checkpoint(path)
    description = describe(content, str(path), variant, img_size, key, prefix)
    vit = PlainViT.from_options(**description.options, out_norm=True)
    load_encoder(vit, recognise(content, str(path), key, prefix))
    return Frozen(vit.eval(), ImgDataPreprocessor(**description.statistics), description.size)


def _own_options(told: Any, source: str) -> dict[str, Any]:
    if not isinstance(told, dict) or told.get('type') != 'PlainViT':
        raise ValueError(f'{source} is of a model without a PlainViT: its config tells of {told!r:.80}')
    return {key: value for key, value in told.items() if key not in TRAINING_OPTIONS}


def _options_of_shapes(file: EncoderFile) -> dict[str, Any]:
    options = model_options(file)
    if 'num_heads' in options.untold:
        raise ValueError(
            f'{file.source} is of no published size ({options.known["variant"]}) and does not tell its heads: evaluate '
            'the checkpoint of the run, which holds its config'
        )
    return {name: value for name, value in options.known.items() if name != 'out_norm'}


@torch.no_grad()
def compute_features(
    frozen: Frozen, data: Dataset, pool: Callable[[PlainViT, Tensor], Tensor], mirror: bool = False, workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Compute the features of all images of a data set.

    Args:
        frozen: the backbone.
        data: see `pretrain.data.labelled.LabelledImages`, with a transform that is not random.
        pool: maps the backbone and normalised images (B, 3, h, w) to (B, D).
        mirror: add a second view, the images mirrored.
        workers: processes that read images.

    Returns:
        float32 (V, M, D), where V is 1 or 2, and labels int64 (M,), both on the backbone's device.
    """
    device = frozen.vit.patch_embed.proj.weight.device
    views: list[list[Tensor]] = [[], []] if mirror else [[]]
    labels = []
    for batch in DataLoader(data, batch_size=64, num_workers=workers, worker_init_fn=seed_worker):
        images = frozen.prepare(batch['inputs'])
        labels.append(batch['data_samples'].to(device))
        for view, seen in zip(views, (images, images.flip(-1)), strict=False):
            view.append(pool(frozen.vit, seen).float())
    return torch.stack([torch.cat(view) for view in views]), torch.cat(labels)
