"""A pretraining model back from its checkpoint."""

import ast
from pathlib import Path
from typing import Any

from mmengine.model import ImgDataPreprocessor

from backbones.checkpoint import read_checkpoint
from backbones.vit import PlainViT
from pretrain.mae import MaskedAutoencoder


def load_autoencoder(path: str | Path) -> MaskedAutoencoder:
    """Build the model that a pretraining run saved, from the config inside the checkpoint.

    The config is read as values and never run, and only our own classes are built from it: opening somebody's
    checkpoint is safe.

    Args:
        path: checkpoint written by ``tools/train.py`` with a config of `MaskedAutoencoder`.

    Returns:
        the model in evaluation mode.

    Raises:
        ValueError: the file has no decoder, no config, or a config of another model.
    """
    content = read_checkpoint(path)
    weights = content.get('state_dict', content.get('model', content))
    if not any(name.startswith('decoder.') for name in weights):
        raise ValueError(
            f'{path} has no decoder, so it cannot reconstruct: encoder-only files serve as backbones '
            "(init_cfg=dict(type='PretrainedViT', ...)); give the epoch_N.pth of a pretraining run"
        )
    text = content.get('meta', {}).get('cfg')
    if not text:
        raise ValueError(f'{path} holds no config (meta.cfg): give the epoch_N.pth as the pretraining run wrote it')
    model = build_autoencoder(read_model_config(text))
    model.load_state_dict(weights)
    return model.eval()


def read_model_config(text: str) -> dict[str, Any]:
    """Read ``model = dict(...)`` from the text that mmengine stores of a config, as values.

    Raises:
        ValueError: it is not there, or holds anything that would have to be run.
    """
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == 'model':
                return ast.literal_eval(_DictCalls().visit(statement.value))
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f'the config in the checkpoint is not made of values alone, so it is not read: {error}'
        ) from error
    raise ValueError('the config in the checkpoint has no model')


class _DictCalls(ast.NodeTransformer):
    """Turn ``dict(a=1)`` and ``dict({'a b': 1})``, as mmengine writes them, into literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Called by ``ast`` for each call in the text."""
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        if not node.args:
            keys: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in node.keywords]
            return ast.Dict(keys=keys, values=[keyword.value for keyword in node.keywords])
        plain = len(node.args) == 1 and isinstance(node.args[0], ast.Dict) and not node.keywords
        return node.args[0] if plain else node


def build_autoencoder(config: dict[str, Any]) -> MaskedAutoencoder:
    """Build the model of a ``model = dict(type='MaskedAutoencoder', ...)`` without asking any registry.

    Raises:
        ValueError: a type in it is not the one that belongs there.
    """
    config = _arguments(config, MaskedAutoencoder)
    encoder = PlainViT(**_arguments(config.pop('encoder'), PlainViT))
    preprocessor = ImgDataPreprocessor(**_arguments(config.pop('data_preprocessor'), ImgDataPreprocessor))
    return MaskedAutoencoder(encoder, data_preprocessor=preprocessor, **config)


def _arguments(config: dict[str, Any], wanted: type) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key != 'init_cfg'}
    found = config.pop('type', None)
    if found != wanted.__name__:
        raise ValueError(f'the checkpoint is of a {found}, where reconstruct needs a {wanted.__name__}')
    return config
