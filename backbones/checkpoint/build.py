"""Build the PlainViT that fits a checkpoint, and load its weights."""

from pathlib import Path
from typing import Any, TypeVar

from backbones.checkpoint.load import load_encoder, open_encoder
from backbones.checkpoint.options import model_options
from backbones.vit import PlainViT

Model = TypeVar('Model', bound=PlainViT)


def build_pretrained(kind: type[Model], path: str | Path | dict[str, Any], options: dict[str, Any]) -> Model:
    """Build the model that fits a checkpoint, and load its weights; see `PlainViT.from_pretrained`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, lacks something that is needed, or does not fit the options.
    """
    file = open_encoder(path)
    found = model_options(file)
    needed = {'variant' if name == 'num_heads' else name for name in found.untold} - options.keys()
    if 'pretrain_img_size' in options:
        needed.discard('img_size')
    if needed:
        raise ValueError(f'{file.source} does not tell {", ".join(sorted(needed))}: give it to from_pretrained')
    model = kind.from_options(**{**found.known, **options})
    load_encoder(model, file)
    return model
