import pytest
import torch
from mmengine.config import Config

from pretrain.mae import MaskedAutoencoder
from pretrain.restore import build_autoencoder, load_autoencoder, read_model_config
from tests.helpers import randomise

SMALL = dict(embed_dim=24, depth=2, num_heads=3)


def model_config(**changes):
    return dict(
        type='MaskedAutoencoder',
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0]),
        encoder=dict(type='PlainViT', variant=SMALL, img_size=(24, 40), patch_size=8, out_norm=True),
        decoder=dict(embed_dim=16, depth=1, num_heads=4),
        mask_ratio=0.6,
        norm_pix=False,
        **changes,
    )


def save(path, config=None, **changes):
    """A checkpoint as mmengine's Runner writes it."""
    model = randomise(build_autoencoder(model_config()))
    text = Config(dict(model=config or model_config(), train_cfg=dict(max_epochs=3))).pretty_text
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': text}, **changes}, path)
    return model


def test_load_autoencoder__the_model_that_was_saved(tmp_path):
    saved = save(tmp_path / 'a.pth')
    model = load_autoencoder(tmp_path / 'a.pth')
    assert (model.mask_ratio, model.target.norm_pix, model.training) == (0.6, False, False)
    assert model.data_preprocessor.mean.flatten().tolist() == [120, 110, 100]
    state = saved.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_load_autoencoder__encoder_only_file(tmp_path):
    encoder = build_autoencoder(model_config()).encoder
    torch.save({'model': encoder.state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth has no decoder, so it cannot reconstruct'):
        load_autoencoder(tmp_path / 'a.pth')


def test_load_autoencoder__no_config(tmp_path):
    save(tmp_path / 'a.pth', meta={})
    with pytest.raises(ValueError, match=r'holds no config \(meta\.cfg\)'):
        load_autoencoder(tmp_path / 'a.pth')


@pytest.mark.parametrize('place', ['model', 'encoder', 'data_preprocessor'])
def test_load_autoencoder__builds_no_class_but_ours(tmp_path, place):
    config = model_config()
    # mmengine's registries import and call whatever such a type names.
    (config if place == 'model' else config[place])['type'] = 'os.system'
    save(tmp_path / 'a.pth', config)
    with pytest.raises(ValueError, match=r'the checkpoint is of a os\.system'):
        load_autoencoder(tmp_path / 'a.pth')


def test_read_model_config__what_mmengine_writes():
    config = model_config(odd={'a b': (1, None), 'c': -1e-6})
    assert read_model_config(Config(dict(model=config, other=3)).pretty_text) == config


def test_read_model_config__never_runs_the_text(tmp_path):
    trap = tmp_path / 'ran'
    with pytest.raises(ValueError, match='not made of values alone'):
        read_model_config(f'model = dict(type=open({str(trap)!r}, "w"))')
    assert not trap.exists()


@pytest.mark.parametrize(
    'text', ['model = dict(', 'model = dict(a=b)', 'model = dict([(1, 2)])', 'model = x.dict(a=1)']
)
def test_read_model_config__more_than_values(text):
    with pytest.raises(ValueError, match='not made of values alone'):
        read_model_config(text)


def test_read_model_config__no_model():
    with pytest.raises(ValueError, match='has no model'):
        read_model_config('train_cfg = dict(max_epochs=3)')


def test_build_autoencoder__ignores_where_training_started():
    config = model_config()
    config['encoder']['init_cfg'] = dict(type='PretrainedViT', checkpoint='gone.pth')
    assert isinstance(build_autoencoder(config), MaskedAutoencoder)
