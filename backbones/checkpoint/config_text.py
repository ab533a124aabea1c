"""Read the config that mmengine stores as text in a checkpoint, as values and without running it."""

import ast
from typing import Any


def read_model_config(text: str) -> dict[str, Any]:
    """Read ``model = dict(...)``, as values, from the config text that mmengine stores.

    Raises:
        ValueError: it is not there, or contains something that would have to be run.
    """
    return read_config_part(text, 'model')


def read_config_part(text: str, name: str) -> Any:
    """Read ``NAME = ...``, as values, from the config text that mmengine stores.

    Raises:
        ValueError: it is not there, or contains something that would have to be run.
    """
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
                return ast.literal_eval(_DictCalls().visit(statement.value))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'the config in the checkpoint is not made of values alone, so it is not read: {error}'
        ) from error
    raise ValueError(f'the config in the checkpoint has no {name}')


def trained_size(text: str) -> tuple[int, int] | None:
    """Height and width of the training crops, or None if the stored data config does not tell them."""
    try:
        dataset = read_config_part(text, 'train_dataloader')['dataset']
        size = dataset.get('crop_size') or (dataset.get('transform') or {}).get('size')
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return int(height), int(width)
    except (ValueError, KeyError, TypeError, AttributeError):  # other datasets have other settings, or none
        return None


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
