"""Load any checkpoint that the formats table knows into a PlainViT, with a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backbones.checkpoint.beit import options_of
from backbones.checkpoint.kernel import Channels
from backbones.checkpoint.match import match
from backbones.checkpoint.options import architecture
from backbones.checkpoint.read import read_checkpoint
from backbones.checkpoint.recognise import EncoderFile, recognise
from backbones.checkpoint.report import Report
from backbones.logs import say
from backbones.vit import PlainViT

__all__ = [
    'Report',
    'check_pretrained',
    'load_encoder',
    'load_pretrained',
    'match',
    'open_encoder',
    'read_checkpoint',
]


def load_pretrained(
    vit: PlainViT,
    path: str | Path | dict[str, Any],
    *,
    allow_missing: Sequence[str] = (),
    channels: Channels = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Report:
    """Load published or own weights into a PlainViT, and log the report once.

    Positions are resampled to the model's grid, relative-position tables and the patch projection to its sizes;
    decoders and heads are left over. If anything stays unexplained, the model is not touched at all. If a file holds
    both weights and their running average (EMA, teacher), the average is loaded and the report says so.

    Files do not tell the grid of learned positions: if it is not square, pass it to the model as
    ``pretrain_img_size``. Most files do not tell heads, epsilon of the norms and activation: the report says what is
    assumed.

    Args:
        vit: the model; changed in place.
        path: local ``.pth``, ``.safetensors`` or ``.pkl`` file of a format in `backbones.checkpoint.formats.FORMATS`,
            a published name (`backbones.checkpoint.hub.find_published`), or the content of such a file as a dict.
        allow_missing: parameters or groups of them (``'patch_embed'``) that keep their initial values if the file
            lacks them, has them in another shape, or has unusable values.
        channels: what the model's image channels take from a file with more or fewer channels: ``'mean'``, ``'copy'``
            or a sequence (`backbones.checkpoint.kernel.spread_channels`). Without it a different number is an error.
        key: place of the state dict in the file, such as ``'model_ema'``; None searches for it.
        prefix: text in front of the encoder's names, such as ``'student.backbone.'``; None searches for it.

    Returns:
        the `Report`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, none or only a part of it fits, or an argument does not fit the model or
            the file.
    """
    return load_encoder(vit, open_encoder(path, key, prefix), allow_missing=allow_missing, channels=channels)


def check_pretrained(
    vit: PlainViT,
    path: str | Path | dict[str, Any],
    *,
    allow_missing: Sequence[str] = (),
    channels: Channels = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Report:
    """Check as `load_pretrained` does without loading; the model stays as it is and may be on the meta device.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `load_pretrained` would refuse.
    """
    file = open_encoder(path, key, prefix)
    report, _ = match(vit, file, allow_missing, channels)
    if not report.complete:
        raise ValueError(_refusal(vit, file, report))
    return report


def load_encoder(
    vit: PlainViT, file: EncoderFile, *, allow_missing: Sequence[str] = (), channels: Channels = None
) -> Report:
    """Load as `load_pretrained` does, from an encoder already taken out of its file.

    Raises:
        ValueError: see `load_pretrained`, or the model is on the meta device.
    """
    own = vit.state_dict()
    hollow = [name for name, value in own.items() if value.is_meta]
    if hollow:
        raise ValueError(
            f'{hollow[0]} of the model is on the meta device, which holds no values: give the model memory by '
            "vit.to_empty(device='cpu') first, or ask check_pretrained whether the weights fit"
        )
    report, values = match(vit, file, allow_missing, channels)
    if not report.complete:
        raise ValueError(_refusal(vit, file, report))
    for name, value in values.items():
        own[name].copy_(value)
    say(f'weights loaded\n{report}')
    return report


def open_encoder(path: str | Path | dict[str, Any], key: str | None = None, prefix: str | None = None) -> EncoderFile:
    """Take the encoder out of a file, or out of the content of one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read or has no known format.
    """
    if isinstance(path, dict):
        return recognise(path, f'dict of {len(path)} entries', key, prefix)
    return recognise(read_checkpoint(path), str(path), key, prefix)


def _refusal(vit: PlainViT, file: EncoderFile, report: Report) -> str:
    """Write the worst problem in the first line, then the report and what can be done."""
    worst = next((f': {" ".join(row)}' for row in report.problems()), ': nothing of it is loaded')
    return f'{file.source} does not fit the model{worst}\n{report}\n{_way_out(vit, file, report)}'


def _way_out(vit: PlainViT, file: EncoderFile, report: Report) -> str:
    sizes = architecture(file)
    options = ''.join(f', {name}={value!r}' for name, value in options_of(file.tensors).items())
    lines = [
        f'file         {sizes}{options}',
        f'model        embed_dim {vit.embed_dim}, depth {vit.depth}, patch_size {vit.patch_size}, '
        f'in_channels {vit.in_channels}, positions {vit.pos_grid[0]}x{vit.pos_grid[1]}',
    ]
    if sizes.in_channels != vit.in_channels:
        lines.append("channels     say what the model's channels take: channels='mean', 'copy' or a list of the file's")
    if any(name.startswith('norm.') for name in report.missing):
        lines.append(
            'norm         the file has no final norm, as a model fine-tuned for a dense task has none: take its '
            "features without (out_norm=False), or allow_missing=['norm'] for a fresh one"
        )
    lines.append(
        'Build PlainViT with the sizes of the file (pretrain_img_size where its positions are not square), or name in '
        'allow_missing what may keep its initial values.'
    )
    return '\n'.join(lines)
