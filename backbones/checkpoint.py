"""The one door for published weights: any checkpoint the formats table knows -> PlainViT, with a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from backbones.checkpoint_convert_beit import SHARED_TABLE, options_of, spread_shared_table
from backbones.checkpoint_formats import EncoderFile, architecture, recognise
from backbones.checkpoint_kernel import Channels
from backbones.checkpoint_read import read_checkpoint
from backbones.checkpoint_report import Report
from backbones.checkpoint_resize import fit, is_rel_pos, is_table
from backbones.vit import PlainViT

# Parts of other ViTs which PlainViT has no place for, so that no argument makes their files fit.
OTHER_PARTS = (
    ('norm_pre.', 'a norm in front of the blocks (CLIP): another network than PlainViT'),
    ('pre_norm.', 'a norm in front of the blocks (CLIP): another network than PlainViT'),
    ('reg_token', 'register tokens, which take part in attention: another network than PlainViT'),
    ('residual.', "convolutions behind ViTDet's blocks, which PlainViT lacks"),
)

__all__ = ['PretrainedViT', 'Report', 'load_pretrained', 'match', 'read_checkpoint']


def load_pretrained(
    vit: PlainViT,
    path: str | Path | dict[str, Any],
    *,
    allow_missing: Sequence[str] = (),
    channels: Channels = None,
) -> Report:
    """Load published or own weights into a PlainViT, and log the report once.

    Positions are resampled to the model's grid, relative-position tables and the patch projection to its sizes;
    decoders and heads are left over. All or nothing: if anything stays unexplained the model is not touched. Files do
    not tell the grid of their positions: where it is not square, give it to the model as ``pretrain_img_size``. Nor
    do they tell the heads and the epsilon of the norms (1e-6 here, 1e-12 in transformers' ViT).

    Args:
        vit: the model; changed in place.
        path: local ``.pth``, ``.safetensors`` or ``.pkl`` file of a format in `backbones.checkpoint_formats.FORMATS`,
            a published name (`backbones.checkpoint_hub.find_published`), or the content of such a file as a dict.
        allow_missing: parameters or groups of them (``'patch_embed'``) that keep their initial values where the file
            lacks them or has them in another shape.
        channels: what the model's image channels take from the file where there are more or fewer than in the file:
            ``'mean'``, ``'copy'`` or a sequence (`backbones.checkpoint_kernel.spread_channels`). Without it other
            channels are an error.

    Returns:
        the `Report`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, nothing or only a part of it fits, or an argument does not fit the model.
    """
    if isinstance(path, dict):
        file = recognise(path, f'dict of {len(path)} entries')
    else:
        file = recognise(read_checkpoint(path), str(path))
    report, values = match(vit, file, allow_missing, channels)
    if not report.complete:
        raise ValueError(f'{file.source} does not fit the model.\n{report}\n{_way_out(vit, file)}')
    own = vit.state_dict()
    for name, value in values.items():
        own[name].copy_(value)
    print_log(f'weights loaded\n{report}', logger='current')
    return report


def match(
    vit: PlainViT, file: EncoderFile, allow_missing: Sequence[str] = (), channels: Channels = None
) -> tuple[Report, dict[str, Tensor]]:
    """Work out what `load_pretrained` would do, without touching the model.

    Returns:
        the report, and the value of each parameter in the report's ``loaded``, in the model's shape.

    Raises:
        ValueError: ``allow_missing`` names no parameter of the model.
    """
    own = vit.state_dict()
    allowed = _allowed(own, allow_missing)
    report = Report(file.source, file.format, left_over=dict(file.left_over), unexpected=list(file.unexpected))
    values: dict[str, Tensor] = {}
    tensors = spread_shared_table(file.tensors, own)
    if tensors is not file.tensors:
        report.left_over[SHARED_TABLE] = 'shared in the file: each block starts from a copy'
    for name, tensor in tensors.items():
        if name not in own:
            _sort_unused(report, name)
            continue
        value = fit(name, tensor, own[name].shape, _grid_behind(vit, name), channels)
        if value is None:
            if name not in allowed:
                report.mismatched[name] = (tuple(tensor.shape), tuple(own[name].shape))
            continue
        values[name] = value
        if value is not tensor or name in file.shapes:
            report.resized[name] = (file.shapes.get(name, tuple(tensor.shape)), tuple(value.shape))
    report.loaded = list(values)
    absent = [name for name in own if name not in values and name not in report.mismatched]
    _sort_absent(report, absent, allowed, file)
    return report, values


@WEIGHT_INITIALIZERS.register_module()
class PretrainedViT:
    """mmengine initialiser: ``init_cfg=dict(type='PretrainedViT', checkpoint='mae_pretrain_vit_base.pth')``.

    Args:
        checkpoint: see `load_pretrained`.
        allow_missing: see `load_pretrained`.
        channels: see `load_pretrained`.
    """

    def __init__(self, checkpoint: str, allow_missing: Sequence[str] = (), channels: Channels = None) -> None:
        self.checkpoint = checkpoint
        self.allow_missing = allow_missing
        self.channels = channels

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            ValueError: ``module`` is no PlainViT, or `load_pretrained` refuses the file.
        """
        if not isinstance(module, PlainViT):
            raise ValueError(
                f'PretrainedViT fills a PlainViT, not a {type(module).__name__}: put the init_cfg on the backbone'
            )
        load_pretrained(module, self.checkpoint, allow_missing=self.allow_missing, channels=self.channels)
        # mmengine keeps this only while it initialises a whole model.
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedViT: load from {self.checkpoint}')


def _allowed(own: dict[str, Tensor], allow_missing: Sequence[str]) -> set[str]:
    allowed = set()
    for start in [allow_missing] if isinstance(allow_missing, str) else allow_missing:
        names = {name for name in own if name == start or name.startswith(start.rstrip('.') + '.')}
        if not names:
            raise ValueError(f'allow_missing names {start!r}, but the model has no such parameter')
        allowed |= names
    return allowed


def _grid_behind(vit: PlainViT, name: str) -> tuple[int, int]:
    """Grid (H, W) behind a table: of the windows or the image for BEiT's, else that of the positions."""
    return vit.get_submodule(name.rpartition('.')[0]).table_grid if is_table(name) else vit.pos_grid


def _sort_unused(report: Report, name: str) -> None:
    """Put a name of the file that the model lacks where it belongs."""
    if name.startswith('norm.'):
        report.left_over[name] = 'the model has no final norm (out_norm=False)'
    elif name == 'cls_token':
        report.left_over[name] = 'the model has no class token (windows or relative positions)'
    else:
        report.unexpected.append(name)


def _sort_absent(report: Report, names: Sequence[str], allowed: set[str], file: EncoderFile) -> None:
    """Put names of the model that the file gives no value for where they belong."""
    for name in names:
        reason = 'allowed by the caller' if name in allowed else _why_absent(name, file)
        if reason:
            report.kept[name] = reason
        else:
            report.missing.append(name)


def _why_absent(name: str, file: EncoderFile) -> str | None:
    """Why it is right that the file lacks a parameter; None if nothing explains it."""
    if is_rel_pos(name) and not any(is_rel_pos(other) for other in file.tensors):
        return 'pretrained without relative positions; the tables start at zero'
    if name == 'global_pos_embed' and 'pos_embed' in file.tensors:
        return 'pretrained without windows; the stretched positions start at zero'
    if name.startswith('norm.') and any('fc_norm.' in other for other in file.left_over):
        return 'fine-tuned with fc_norm behind the pooling instead, which is another function'
    return None


def _way_out(vit: PlainViT, file: EncoderFile) -> str:
    sizes = architecture(file.tensors)
    options = ''.join(f', {name}={value!r}' for name, value in options_of(file.tensors).items())
    lines = [
        f'file         {sizes}{options}',
        f'model        embed_dim {vit.embed_dim}, depth {vit.depth}, patch_size {vit.patch_size}, '
        f'in_channels {vit.in_channels}, positions {vit.pos_grid[0]}x{vit.pos_grid[1]}',
    ]
    lines += [f'{part:<12} {meaning}' for part, meaning in OTHER_PARTS if any(part in name for name in file.tensors)]
    if sizes.in_channels != vit.in_channels:
        lines.append("channels     say what the model's channels take: channels='mean', 'copy' or a list of the file's")
    lines.append(
        'Build PlainViT with the sizes of the file (pretrain_img_size where its positions are not square), or name in '
        'allow_missing what may keep its initial values.'
    )
    return '\n'.join(lines)
