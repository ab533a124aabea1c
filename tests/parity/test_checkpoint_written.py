"""Files that the converter writes: the foreign package loads them strictly and computes our features (<= 1e-5)."""

import timm
import torch
from safetensors.torch import load_file
from transformers import ViTConfig, VitDetBackbone, VitDetConfig, ViTMAEConfig, ViTMAEModel, ViTModel

from backbones import PlainViT
from downstream.cli.convert import main
from tests.helpers import randomise, relative_error

TOY = dict(embed_dim=48, depth=3, num_heads=3)
SIZES = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192, patch_size=8)
PLAIN = dict(image_size=32, layer_norm_eps=1e-6, **SIZES)


def written(folder, target, name, **options):
    """Random weights of a toy, in a file of the target's layout; returns the toy and the file."""
    ours = randomise(PlainViT(TOY, img_size=32, patch_size=8, **options)).eval()
    torch.save({'model': ours.state_dict()}, folder / 'source.pth')
    assert main([str(folder / 'source.pth'), str(folder / name), '--to', target]) == 0
    return ours, folder / name


@torch.no_grad()
def test_to_timm__loads_strictly(tmp_path):
    theirs = timm.create_model(
        'vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=0
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    for target, name in (('timm', 'model.pth'), ('timm', 'timm.safetensors'), ('safetensors', 'model.safetensors')):
        ours, path = written(tmp_path, target, name, out_norm=True)
        state = load_file(path) if path.suffix == '.safetensors' else torch.load(path, weights_only=True)
        theirs.load_state_dict(state, strict=True)
        assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


@torch.no_grad()
def test_to_transformers__loads_strictly(tmp_path):
    ours, path = written(tmp_path, 'transformers', 'model.safetensors', out_norm=True)
    images = torch.randn(2, 3, 32, 32)
    expected = ours.encode(ours.embed(images))
    vit = ViTModel(ViTConfig(**PLAIN), add_pooling_layer=False).eval()
    vit.load_state_dict(load_file(path), strict=True)
    assert relative_error(vit(images).last_hidden_state, expected) <= 1e-5
    mae = ViTMAEModel(ViTMAEConfig(**PLAIN, mask_ratio=0.0)).eval()
    mae.load_state_dict(load_file(path), strict=True)
    noise = torch.arange(16.0).expand(2, -1)
    assert relative_error(mae(images, noise=noise).last_hidden_state, expected) <= 1e-5


@torch.no_grad()
def test_to_transformers__from_pretrained(tmp_path):
    ours, _ = written(tmp_path, 'transformers', 'model.safetensors', out_norm=True)
    ViTConfig(**PLAIN).save_pretrained(tmp_path)
    theirs, told = ViTModel.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    assert not (told['missing_keys'] or told['unexpected_keys'])
    images = torch.randn(2, 3, 32, 32)
    assert relative_error(ours.encode(ours.embed(images)), theirs.eval()(images).last_hidden_state) <= 1e-5


@torch.no_grad()
def test_to_transformers__vitdet_loads_strictly(tmp_path):
    options = dict(window_size=3, global_blocks=(1,), rel_pos='decomposed')
    ours, path = written(tmp_path, 'transformers', 'model.bin', **options)
    config = VitDetConfig(
        image_size=32,
        pretrain_image_size=32,
        window_block_indices=[0, 2],
        window_size=3,
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        **SIZES,
    )
    theirs = VitDetBackbone(config).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=True)
    images = torch.randn(2, 3, 32, 32)
    assert relative_error(ours(images)[0], theirs(images).feature_maps[-1]) <= 1e-5
