"""Restore a pretraining model from its checkpoint."""

from pathlib import Path
from typing import Any

from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from backbones.checkpoint.config_text import read_model_config, trained_size
from backbones.checkpoint.read import read_checkpoint
from backbones.vit import PlainViT
from pretrain.methods.beit import BEiTPretraining
from pretrain.methods.denoise import DenoisingAutoencoder
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.masked_model import PretrainingModel
from pretrain.methods.simmim import SimMIM
from pretrain.methods.targets import TokenTarget
from pretrain.tokenizer.dvae import load_tokenizer

MODEL_CLASSES = {each.__name__: each for each in (MaskedAutoencoder, BEiTPretraining, SimMIM, DenoisingAutoencoder)}


def load_model(path: str | Path, tokenizer: str | Path | None = None) -> PretrainingModel:
    """Build the model that a pretraining run saved, from the config inside the checkpoint.

    The config is parsed as plain values and never run, and only our own classes are built from it. So it is safe to
    open somebody else's checkpoint.

    Args:
        path: checkpoint written by ``tools/train.py`` with a config of one of `MODEL_CLASSES`.
        tokenizer: checkpoint of the image tokenizer, if it is no longer at the path in the config.

    Returns:
        the model in evaluation mode.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the file has nothing that predicts patches, no config, or a config of another model; or the
            tokenizer is missing, not needed, or the wrong one.
    """
    content = read_checkpoint(path)
    weights = find_weights(content)
    if 'decoder_pred.weight' in weights:
        raise ValueError(
            f'{path} is a published MAE, which does not tell what it predicts: say so by --target pixels '
            '(mae_visualize_vit_*.pth) or --target normalised (mae_pretrain_vit_*_full.pth)'
        )
    if not any(name.startswith(('decoder.', 'head.')) for name in weights):
        raise ValueError(
            f'{path} has no decoder or head, so it cannot reconstruct: encoder-only files serve as backbones '
            "(init_cfg=dict(type='PretrainedViT', ...)); give the epoch_N.pth of a pretraining run"
        )
    text = content.get('meta', {}).get('cfg')
    if not text:
        raise ValueError(f'{path} holds no config (meta.cfg): give the epoch_N.pth as the pretraining run wrote it')
    model = build_model(read_model_config(text), tokenizer)
    model.trained_size = trained_size(text)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = 'another tokenizer than in training, or ' if isinstance(model.target, TokenTarget) else ''
        raise ValueError(f'the weights in {path} do not fit its config: {reason}an altered file. {error}') from error
    return model.eval()


def find_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """Find the weights in the content of a checkpoint, under whichever key they are stored."""
    return content.get('state_dict', content.get('model', content))


def build_model(config: dict[str, Any], tokenizer: str | Path | None = None) -> PretrainingModel:
    """Build the model of a ``model = dict(type='MaskedAutoencoder', ...)`` without using a registry.

    Args:
        config: see `read_model_config`.
        tokenizer: see `load_model`.

    Raises:
        ValueError: the config has a type that does not belong there; see also `load_model` about the tokenizer.
    """
    found = config.get('type')
    if not isinstance(found, str) or found not in MODEL_CLASSES:
        raise ValueError(f'the checkpoint is of a {found}, where one of {", ".join(MODEL_CLASSES)} is needed')
    config = _arguments(config, found)
    config['encoder'] = PlainViT.from_options(**_arguments(config['encoder'], 'PlainViT'))
    preprocessor = _arguments(config['data_preprocessor'], 'ImgDataPreprocessor')
    config['data_preprocessor'] = ImgDataPreprocessor(**preprocessor)
    if config.get('target') is not None:
        config['target'] = _token_target(config['target'], tokenizer)
    elif tokenizer is not None:
        raise ValueError(f'this {found} predicts pixels, so that tokenizer {tokenizer} serves nothing: leave it out')
    return MODEL_CLASSES[found](**config)


def _token_target(config: dict[str, Any], tokenizer: str | Path | None) -> TokenTarget:
    path = _arguments(config, 'TokenTarget')['tokenizer'] if tokenizer is None else tokenizer
    try:
        return TokenTarget(load_tokenizer(path))
    except FileNotFoundError as error:
        raise ValueError(
            f'the model predicts the tokens of {path}, which is not there: give the place of that tokenizer '
            'by --tokenizer PATH'
        ) from error


def _arguments(config: dict[str, Any], wanted: str) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key != 'init_cfg'}
    found = config.pop('type', None)
    if found != wanted:
        raise ValueError(f'the checkpoint is of a {found}, where a {wanted} is needed')
    return config
