"""transformers' models, saved by transformers, through the door: features equal theirs (<= 1e-5 of the largest)."""

import pytest
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2Model,
    SamConfig,
    SamModel,
    SamVisionConfig,
    ViTConfig,
    VitDetBackbone,
    VitDetConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from backbones import PlainViT, load_pretrained
from tests.helpers import randomise, relative_error

SIZES = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192, patch_size=8)
TOY = dict(embed_dim=48, depth=3, num_heads=3)
PLAIN = dict(image_size=32, layer_norm_eps=1e-6, **SIZES)


def save_v4(model, folder):
    """Published files have these names, and save_pretrained of version 5 still writes them."""
    model.save_pretrained(folder)
    return folder / 'model.safetensors'


def save_v5(model, folder):
    """The names of version 5's modules."""
    torch.save(model.state_dict(), folder / 'model.bin')
    return folder / 'model.bin'


def mae():
    decoder = dict(decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
    config = ViTMAEConfig(**PLAIN, **decoder, decoder_intermediate_size=64, mask_ratio=0.0)
    return randomise(ViTMAEForPreTraining(config)).eval()


def mae_features(model, images):
    noise = torch.arange(float(images.shape[2] * images.shape[3] // 64)).expand(len(images), -1)
    return model.vit(images, noise=noise, interpolate_pos_encoding=True).last_hidden_state


def vit_features(model, images):
    return getattr(model, 'vit', model)(images, interpolate_pos_encoding=True).last_hidden_state


def deit_features(model, images):
    """DeiT with the distillation token taken away behind its embeddings."""
    deit = model.deit
    tokens = deit.embeddings(images, interpolate_pos_encoding=True)
    tokens = torch.cat([tokens[:, :1], tokens[:, 2:]], dim=1)
    for layer in deit.layers:
        tokens = layer(tokens)
    return deit.layernorm(tokens)


MODELS = {
    'mae': (mae, mae_features, {'MAE decoder'}),
    'vit': (
        lambda: randomise(ViTModel(ViTConfig(**PLAIN))).eval(),
        vit_features,
        {"layer on the class token's output"},
    ),
    'classifier': (
        lambda: randomise(ViTForImageClassification(ViTConfig(**PLAIN))).eval(),
        vit_features,
        {'classification head'},
    ),
    'deit': (
        lambda: randomise(DeiTForImageClassificationWithTeacher(DeiTConfig(**PLAIN))).eval(),
        deit_features,
        {
            'classification head',
            'head of the distillation token',
            'distillation token, which PlainViT lacks: the other tokens no longer attend to it',
        },
    ),
}


@pytest.mark.parametrize('size', [(32, 32), (24, 56)])
@pytest.mark.parametrize('save', [save_v4, save_v5])
@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_transformers_file__features(tmp_path, name, save, size):
    build, features, reasons = MODELS[name]
    theirs = build()
    ours = PlainViT(TOY, img_size=size, patch_size=8, out_norm=True).eval()
    report = load_pretrained(ours, save(theirs, tmp_path))
    assert (report.format, len(report.loaded)) == ('transformers', 3 * 12 + 6)
    assert set(report.left_over.values()) == reasons
    table_changes = size != (32, 32) or name == 'deit'
    assert list(report.resized) == (['pos_embed'] if table_changes else [])
    images = torch.randn(2, 3, *size)
    assert relative_error(ours.encode(ours.embed(images)), features(theirs, images)) <= 1e-5


@pytest.mark.parametrize('size', [(64, 64), (40, 88)])
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
@torch.no_grad()
def test_transformers_file__vitdet_features(tmp_path, prefix, size):
    config = VitDetConfig(
        image_size=64,
        pretrain_image_size=32,
        window_block_indices=[0, 2],
        window_size=3,
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        **SIZES,
    )
    theirs = randomise(VitDetBackbone(config)).eval()
    torch.save({prefix + name: value for name, value in theirs.state_dict().items()}, tmp_path / 'a.bin')
    options = dict(window_size=3, global_blocks=(1,), rel_pos='decomposed', pretrain_img_size=32)
    ours = PlainViT(TOY, img_size=64, patch_size=8, **options).eval()
    report = load_pretrained(ours, tmp_path / 'a.bin')
    assert (report.format, report.left_over, report.kept) == ('transformers VitDet', {}, {})
    images = torch.randn(2, 3, *size)
    assert relative_error(ours(images)[0], theirs(images).feature_maps[-1]) <= 1e-5


@pytest.mark.parametrize('size', [(32, 32), (24, 56)])
@pytest.mark.parametrize('save', [save_v4, save_v5])
@torch.no_grad()
def test_transformers_file__dinov2_features(tmp_path, save, size):
    sizes = {name: value for name, value in SIZES.items() if name != 'intermediate_size'}
    theirs = randomise(Dinov2Model(Dinov2Config(image_size=32, layer_norm_eps=1e-6, **sizes))).eval()
    ours = PlainViT(TOY, img_size=size, patch_size=8, out_norm=True, layer_scale=1.0).eval()
    report = load_pretrained(ours, save(theirs, tmp_path))
    assert len(report.loaded) == 3 * 14 + 6 and len(report.left_over) == 1  # the mask token
    images = torch.randn(2, 3, *size)
    assert relative_error(ours.encode(ours.embed(images)), theirs(images).last_hidden_state) <= 1e-5


@pytest.mark.parametrize('save', [save_v4, save_v5])
@torch.no_grad()
def test_transformers_file__sam_features(tmp_path, save):
    vision = dict(SIZES, mlp_dim=192, image_size=64, window_size=3, global_attn_indexes=[1, 2], output_channels=8)
    del vision['intermediate_size']
    config = SamConfig(vision_config=SamVisionConfig(layer_norm_eps=1e-6, **vision).to_dict())
    theirs = randomise(SamModel(config)).eval()
    options = dict(window_size=3, global_blocks=(1, 2), rel_pos='decomposed', pretrain_img_size=64)
    ours = PlainViT(TOY, img_size=64, patch_size=8, **options).eval()
    report = load_pretrained(ours, save(theirs, tmp_path))
    assert not report.kept and set(report.resized) == {'pos_embed'}  # of the same grid, in four dimensions there
    assert 'neck' in ' '.join(report.left_over.values())
    images = torch.randn(2, 3, 64, 64)
    encoder = theirs.vision_encoder
    tokens = encoder.patch_embed(images) + encoder.pos_embed
    for layer in encoder.layers:
        tokens = layer(tokens)
        tokens = tokens[0] if isinstance(tokens, tuple) else tokens
    # (B, H, W, C) -> (B, C, H, W)
    assert relative_error(ours(images)[0], tokens.permute(0, 3, 1, 2)) <= 1e-5


def test_transformers_file__parts_without_a_place(tmp_path):
    theirs = randomise(VitDetBackbone(VitDetConfig(image_size=32, residual_block_indices=[1], **SIZES)))
    torch.save(theirs.state_dict(), tmp_path / 'a.bin')
    with pytest.raises(ValueError, match=r'unexpected .*residual(.|\n)*convolutions behind'):
        load_pretrained(PlainViT(TOY, img_size=32, patch_size=8), tmp_path / 'a.bin')
