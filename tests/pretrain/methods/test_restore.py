import pytest
import torch
from mmengine.config import Config

from backbones.checkpoint.config_text import read_model_config
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.restore import MODEL_CLASSES, build_model, load_model
from pretrain.tokenizer.dvae import DiscreteVAE
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


def other_config(kind, **changes):
    """`model_config` of another class."""
    shared = {key: value for key, value in model_config().items() if key in ('data_preprocessor', 'encoder')}
    return dict(type=kind, **shared, **changes)


def small_tokenizer(path):
    """A tokenizer of 12 codes and stride 4, as a file."""
    tokenizer = randomise(DiscreteVAE(vocab_size=12, hidden=8, groups=3, blocks=1, decoder_init=4))
    torch.save({'state_dict': tokenizer.state_dict()}, path)
    return tokenizer.eval()


def save(path, config=None, made=None, **changes):
    """A checkpoint as mmengine's Runner writes it, of the model that ``made`` (default: `model_config`) describes."""
    model = randomise(build_model(made or model_config()))
    text = Config(dict(model=config or made or model_config(), train_cfg=dict(max_epochs=3))).pretty_text
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': text}, **changes}, path)
    return model


def test_load_model__the_model_that_was_saved(tmp_path):
    saved = save(tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    assert (model.mask_ratio, model.target.norm_pix, model.training) == (0.6, False, False)
    assert model.data_preprocessor.mean.flatten().tolist() == [120, 110, 100]
    state = saved.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def configs_of_all(tokenizer):
    target = dict(type='TokenTarget', tokenizer=str(tokenizer))
    return [
        other_config('SimMIM', mask='block', mask_ratio=0.4),
        other_config('DenoisingAutoencoder', noise=0.5),
        other_config('DenoisingAutoencoder', target=target),
        other_config('BEiTPretraining', target=target),
        other_config('MaskedAutoencoder', decoder=dict(embed_dim=16, depth=1, num_heads=4), target=target),
    ]


@pytest.mark.parametrize('index', range(5))
def test_load_model__every_class_and_target(tmp_path, index):
    tokenizer = small_tokenizer(tmp_path / 'tokenizer.pth')
    config = configs_of_all(tmp_path / 'tokenizer.pth')[index]
    saved = save(tmp_path / 'a.pth', made=config)
    model = load_model(tmp_path / 'a.pth')
    assert type(model) is MODEL_CLASSES[config['type']]
    state = saved.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    if 'target' in config:
        assert model.target.tokenizer.fingerprint() == tokenizer.fingerprint()


def test_load_model__tokenizer_that_moved(tmp_path):
    small_tokenizer(tmp_path / 'tokenizer.pth')
    save(tmp_path / 'a.pth', made=configs_of_all(tmp_path / 'tokenizer.pth')[3])
    (tmp_path / 'tokenizer.pth').rename(tmp_path / 'moved.pth')
    with pytest.raises(ValueError, match=r'tokenizer\.pth, which is not there: .* --tokenizer PATH'):
        load_model(tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth', tmp_path / 'moved.pth')
    assert model.target.tokenizer.vocab_size == 12


def test_load_model__another_tokenizer(tmp_path):
    small_tokenizer(tmp_path / 'tokenizer.pth')
    save(tmp_path / 'a.pth', made=configs_of_all(tmp_path / 'tokenizer.pth')[3])
    other = DiscreteVAE(vocab_size=13, hidden=8, groups=3, blocks=1, decoder_init=4)
    torch.save({'state_dict': other.state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'do not fit its config: another tokenizer than in training'):
        load_model(tmp_path / 'a.pth', tmp_path / 'other.pth')


def test_load_model__tokenizer_nobody_needs(tmp_path):
    save(tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'predicts pixels, so that tokenizer x\.pth serves nothing'):
        load_model(tmp_path / 'a.pth', 'x.pth')


def test_load_model__encoder_only_file(tmp_path):
    encoder = build_model(model_config()).encoder
    torch.save({'model': encoder.state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth has no decoder or head, so it cannot reconstruct'):
        load_model(tmp_path / 'a.pth')


def test_load_model__no_config(tmp_path):
    save(tmp_path / 'a.pth', meta={})
    with pytest.raises(ValueError, match=r'holds no config \(meta\.cfg\)'):
        load_model(tmp_path / 'a.pth')


@pytest.mark.parametrize('place', ['model', 'encoder', 'data_preprocessor', 'target'])
def test_load_model__builds_no_class_but_ours(tmp_path, place):
    config = {**model_config(), 'target': dict(tokenizer='a.pth')}
    # mmengine's registries import and call whatever such a type names.
    (config if place == 'model' else config[place])['type'] = 'os.system'
    save(tmp_path / 'a.pth', config)
    with pytest.raises(ValueError, match=r'the checkpoint is of a os\.system'):
        load_model(tmp_path / 'a.pth')


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


def test_build_model__ignores_where_training_started():
    config = model_config()
    config['encoder']['init_cfg'] = dict(type='PretrainedViT', checkpoint='gone.pth')
    assert isinstance(build_model(config), MaskedAutoencoder)
