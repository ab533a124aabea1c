"""The pretraining methods that the quickstart offers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """How the quickstart pretrains.

    Attributes:
        name: name in paths and command lines.
        title: name for people.
        config: config of the pretraining.
        epochs: epochs of the pretraining.
        idea: what it learns from.
        picture: what the picture of `dense-mae reconstruct` shows.
        backbone: options of the backbone that fit its weights, used in both arms.
        tokenizer: config of the image tokenizer to train first; None for none.
        tokenizer_epochs: epochs of the tokenizer.
    """

    name: str
    title: str
    config: str
    epochs: int
    idea: str
    picture: str
    backbone: tuple[str, ...] = ()
    tokenizer: str | None = None
    tokenizer_epochs: int = 0


MAE = Method(
    name='mae',
    title='MAE',
    config='pretrain/configs/mae_quickstart.py',
    epochs=12,
    idea='by filling in the pixels of masked patches',
    picture='Validation scenes with three of four patches hidden, and what the autoencoder fills in. It predicts each '
    "patch's structure; the mean and contrast of a filled patch are taken from the original.",
)
BEIT = Method(
    name='beit',
    title='BEiT',
    config='pretrain/configs/beit_quickstart.py',
    epochs=8,
    idea='by guessing the visual tokens of masked patches, which an image tokenizer has learnt first',
    picture='Validation scenes with blocks of patches hidden, and the tokens that the model guesses there, drawn by '
    'the tokenizer, as all other patches are.',
    backbone=('rel_pos=table', 'use_abs_pos=False', 'layer_scale=0.1'),
    tokenizer='pretrain/configs/tokenizer_quickstart.py',
    tokenizer_epochs=6,
)
METHODS = {method.name: method for method in (MAE, BEIT)}
