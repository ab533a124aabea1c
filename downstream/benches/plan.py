"""Find the GPU memory that a training step of a config needs, without a GPU and without allocating that memory.

The step runs on tensors that have shapes but no values, and counts all of them: parameters, gradients, activations kept
for backward, and short-lived ones. Adam's two moments are added. BEiT's tokens are assumed to be cached: a tokenizer on
the device adds its own weights.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.distributed._tools.mem_tracker import MemTracker

from backbones.vit import PlainViT
from backbones.vit.attention import choose_way
from pretrain.methods.masked_model import PretrainingModel
from pretrain.methods.targets import TokenTarget, Views
from pretrain.tokenizer.dvae import DiscreteVAE

GIB = 2**30
# Memory that is not counted: the context of the device and its libraries, then fragments and kernel workspaces.
CONTEXT_GIB, FRAGMENTS = 1.0, 1.1
# Batch sizes that are counted; the need for other sizes is computed from these.
COUNTED = (2, 4)


@dataclass(frozen=True)
class Setting:
    """One way to train a config.

    Attributes:
        bf16: whether bfloat16 autocast is on.
        act_checkpoint: whether blocks are recomputed in backward.
    """

    bf16: bool
    act_checkpoint: bool

    def __str__(self) -> str:
        return ('bf16' if self.bf16 else 'float32') + (', act_checkpoint' if self.act_checkpoint else '')


SETTINGS = tuple(Setting(bf16, recomputed) for bf16 in (True, False) for recomputed in (False, True))


def image_size(cfg: Config) -> tuple[int, int]:
    """Size (h, w) of the training images of a config.

    Raises:
        ValueError: the config does not state the size.
    """
    size = cfg.train_dataloader.dataset.get('crop_size') or cfg.model.get('data_preprocessor', {}).get('size')
    if size is None:
        crops = [step.crop_size for step in cfg.train_dataloader.dataset.get('pipeline', ()) if 'crop_size' in step]
        scales = [step.scale for step in cfg.train_dataloader.dataset.get('pipeline', ()) if 'scale' in step]
        size = next(iter(crops + scales), None)
    if size is None:
        raise ValueError('the config does not tell the size of its training images: give --size HEIGHT WIDTH')
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def model_settings(cfg: Config, act_checkpoint: bool) -> ConfigDict:
    """Change the model of a config for the plan: nothing depends on values, and blocks are recomputed or not.

    Call it under `FakeTensorMode`.

    Raises:
        ValueError: this kind of model cannot be planned.
    """
    if 'encoder' not in cfg.model and not ('neck' in cfg.model and {'decode_head', 'rpn_head'} & set(cfg.model)):
        raise ValueError(f'plan knows pretraining models, detectors and segmentors with a neck, not {cfg.model.type}')
    settings = copy.deepcopy(cfg.model)
    if settings.get('target', {}).get('type') == 'TokenTarget':
        with unset_fake_temporarily():
            # It has the published number of codes but is otherwise small, because the ids are assumed to be cached.
            settings['target'] = TokenTarget(DiscreteVAE(hidden=4))
    if 'mask' in settings:
        # Drawing block masks depends on values. Random masks cost the same.
        settings['mask'] = 'random'
    part = 'encoder' if 'encoder' in settings else 'backbone'
    settings[part]['act_checkpoint'] = act_checkpoint or settings[part].get('act_checkpoint', False)
    return settings


def attend_as_on_gpu(vit: PlainViT) -> None:
    """Make the blocks that choose how to attend choose as on a GPU."""
    for block in vit.blocks:
        grid = (block.window_size, block.window_size) if block.window_size else vit.rel_pos_grid
        if block.attn.attention == 'auto':
            block.attn.attention = choose_way('cuda', vit.embed_dim // vit.num_heads, grid)


def build(cfg: Config, act_checkpoint: bool) -> nn.Module:
    """Build the model of a config, with the attention that a GPU gets and without its checkpoint files.

    Call it under `FakeTensorMode`.

    Raises:
        ValueError: see `model_settings`.
    """
    settings = model_settings(cfg, act_checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    # trunc_normal_ draws until all values lie inside the bounds, and here there are no values.
    with patch.object(nn.init, 'trunc_normal_', lambda tensor, *args, **kwargs: tensor):
        model = revert_sync_batchnorm(MODELS.build(settings)).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # In evaluation mode it is equally large, and one image is enough.
            module.eval()
        elif isinstance(module, PlainViT):
            attend_as_on_gpu(module)
    return model


def pretraining_loss(model: PretrainingModel, images: Tensor) -> Tensor:
    """Loss of masked images."""
    height, width = images.shape[2] // model.encoder.patch_size, images.shape[3] // model.encoder.patch_size
    ids = torch.zeros(len(images), height, width, dtype=torch.long)
    return model.losses(Views(images, model.encoder.patch_size, token_ids=ids))['loss']


def dense_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Every output of a detector's or segmentor's heads, with as many regions of interest as the config samples."""
    maps = model.neck(model.backbone(images))
    if hasattr(model, 'decode_head'):
        heads = [head for head in (model.decode_head, getattr(model, 'auxiliary_head', None)) if head is not None]
        return [F.interpolate(head(maps).float(), images.shape[2:], mode='bilinear').log_softmax(1) for head in heads]
    roi, sampler = model.roi_head, model.train_cfg.rcnn.sampler
    regions = len(images) * sampler.num
    channels = maps[0].shape[1]
    # This copy stands in for the regions cut out of the maps; the operator makes a copy too.
    cut = maps[0].mean(dim=(0, 2, 3)).float()[None, :, None, None]
    boxes = roi.bbox_head(cut.expand(regions, channels, 7, 7).clone())
    masks = roi.mask_head(cut.expand(round(regions * sampler.pos_fraction), channels, 14, 14).clone())
    return [*(each for level in model.rpn_head(maps) for each in level), *boxes, masks]


def loss_of(model: nn.Module, images: Tensor) -> Tensor:
    """Compute a loss that needs the whole model."""
    if isinstance(model, PretrainingModel):
        return pretraining_loss(model, images)
    return torch.stack([each.float().square().mean() for each in dense_outputs(model, images)]).sum()


@contextmanager
def counted(model: nn.Module, images: Tensor) -> Iterator[Callable[[], int]]:
    """Count all tensors alive inside the block; yields a function that returns the peak number of bytes."""
    tracker = MemTracker()
    tracker.track_external(model, images)

    def peak() -> int:
        return sum(each['Total'] for each in tracker.get_tracker_snapshot('peak').values())

    with tracker:
        yield peak


@dataclass(frozen=True)
class Need:
    """Bytes of a training step with AdamW, by the number of images.

    Attributes:
        trained: number of parameters that get gradients.
        fixed: bytes alive at the peak of forward and backward, for zero images.
        per_image: additional bytes for each image.
    """

    trained: int
    fixed: float
    per_image: float

    def gib(self, batch: int) -> float:
        """GPU memory to plan with: the tensors of a step, fragments, and the device's context."""
        # Adam's two moments of 4 bytes are always alive. At the update, parameters, gradients and moments are alive.
        tensors = max(self.fixed + self.per_image * batch + 8 * self.trained, 16 * self.trained)
        return CONTEXT_GIB + FRAGMENTS * tensors / GIB

    def largest_batch(self, gpu_gib: float) -> int:
        """Largest number of images that fit, 0 if not even one does."""
        if self.gib(1) > gpu_gib:
            return 0
        return int(((gpu_gib - CONTEXT_GIB) * GIB / FRAGMENTS - self.fixed - 8 * self.trained) / self.per_image)


def peak_bytes(cfg: Config, setting: Setting, batch: int, size: tuple[int, int]) -> tuple[int, int]:
    """Peak bytes of tensors alive at once in forward and backward, and the number of trained parameters."""
    with FakeTensorMode():
        model, images = build(cfg, setting.act_checkpoint), torch.empty(batch, 3, *size)
        with counted(model, images) as peak:
            with torch.autocast('cpu', torch.bfloat16, enabled=setting.bf16):
                loss = loss_of(model, images)
            loss.backward()
        return peak(), sum(p.numel() for p in model.parameters() if p.requires_grad)


def find_need(cfg: Config, setting: Setting, size: tuple[int, int]) -> Need:
    """Count steps of two batch sizes, because memory grows by the same amount with each image."""
    (one, trained), (more, _) = (peak_bytes(cfg, setting, batch, size) for batch in COUNTED)
    per_image = (more - one) / (COUNTED[1] - COUNTED[0])
    return Need(trained, one - per_image * COUNTED[0], per_image)


def plan(cfg: Config, gpu_gib: float, size: tuple[int, int] | None) -> list[str]:
    """Lines of a Markdown table: the need of each way to train the config, and how many images fit.

    Raises:
        ValueError: see `image_size` and `build`.
    """
    size = size or image_size(cfg)
    batch = cfg.train_dataloader.batch_size
    lines = [
        f'images of {size[0]} x {size[1]}, AdamW, {gpu_gib:g} GiB of GPU memory of which {CONTEXT_GIB:g} is reserved, '
        f'and {FRAGMENTS - 1:.0%} for fragments',
        f'| training | GiB at batch {batch} (the config) | fits | largest batch |',
        '|---|---|---|---|',
    ]
    for setting in SETTINGS:
        need = find_need(cfg, setting, size)
        gib, most = need.gib(batch), need.largest_batch(gpu_gib)
        lines.append(f'| {setting} | {gib:.1f} | {"yes" if gib <= gpu_gib else "no"} | {most} |')
    return lines
