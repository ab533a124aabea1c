"""Frozen backbones: built as pretrained, and their features."""

import cv2
import numpy as np
import pytest
import torch

from backbones import PlainViT
from pretrain.data.class_transforms import EvalTransform
from pretrain.data.labelled import LabelledImages
from pretrain.evaluation.features import pooled_features
from pretrain.evaluation.frozen import compute_features, load_frozen, random_model
from tests.helpers import randomise

SIZES = dict(embed_dim=24, depth=2, num_heads=3)
OPTIONS = dict(variant=SIZES, img_size=(24, 16), patch_size=8)
MEAN = [127.5] * 3


def save(path, vit, **options):
    config = (
        f'model = dict(data_preprocessor=dict(type="ImgDataPreprocessor", mean={MEAN}, std=[50.0] * 3), '
        f'encoder=dict(type="PlainViT", drop_path_rate=0.1, **{options!r}), type="SimMIM")'
    ).replace('[50.0] * 3', '[50.0, 50.0, 50.0]')
    config = config.replace(f'**{options!r}', ', '.join(f'{key}={value!r}' for key, value in options.items()))
    state = {f'encoder.{name}': value for name, value in vit.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'cfg': config}}, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize('options', [{}, dict(rel_pos='shared_table', use_abs_pos=False, layer_scale=0.1)])
def test_load_frozen__builds_what_the_config_tells(tmp_path, options):
    vit = randomise(PlainViT(**OPTIONS, **options, out_norm=True)).eval()
    frozen = load_frozen(save(tmp_path / 'a.pth', vit, **OPTIONS, **options))
    images = torch.randint(256, (2, 3, 24, 16), dtype=torch.uint8)
    expected = pooled_features(vit, (images - 127.5) / 50)
    torch.testing.assert_close(pooled_features(frozen.vit, frozen.prepare(images)), expected)
    assert frozen.size == (24, 16) and not frozen.vit.training
    assert load_frozen(tmp_path / 'a.pth', img_size=32).size == 32


@torch.no_grad()
def test_load_frozen__files_without_config_tell_by_shapes(tmp_path):
    vit = randomise(PlainViT('tiny', 16, 8, rel_pos='table', use_abs_pos=False, layer_scale=0.1, out_norm=True)).eval()
    torch.save({'model': vit.state_dict()}, tmp_path / 'a.pth')
    frozen = load_frozen(tmp_path / 'a.pth', 'tiny', 16)
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(pooled_features(frozen.vit, images), pooled_features(vit, images))


def test_load_frozen__mistakes(tmp_path):
    vit = PlainViT(**OPTIONS, out_norm=True)
    path = save(tmp_path / 'a.pth', vit, **OPTIONS)
    with pytest.raises(ValueError, match="not 'base': leave --variant out"):
        load_frozen(path, 'base')
    torch.save({'weights': {'a': torch.zeros(2)}}, tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=r'b\.pth'):
        load_frozen(tmp_path / 'b.pth')
    torch.save({'state_dict': {}, 'meta': {'cfg': 'model = dict(backbone=dict(type="ResNet"))'}}, tmp_path / 'c.pth')
    with pytest.raises(ValueError, match='without a PlainViT'):
        load_frozen(tmp_path / 'c.pth')


def test_random_model__seed_decides_and_generator_stays():
    state = torch.get_rng_state()
    first, again, other = (random_model('tiny', 32, seed).vit.cls_token for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@torch.no_grad()
def test_compute_features__views_and_labels(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for index in range(2):
            cv2.imwrite(str(tmp_path / name / f'{index}.png'), rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
    data = LabelledImages(str(tmp_path), EvalTransform(16))
    frozen = random_model('tiny', 16, 0)
    features, labels = compute_features(frozen, data, pooled_features, mirror=True)
    assert labels.tolist() == [0, 0, 1, 1]
    for index in range(4):
        image = frozen.prepare(data[index]['inputs'][None])
        for view, seen in zip(features, (image, image.flip(3)), strict=True):
            torch.testing.assert_close(view[index], pooled_features(frozen.vit, seen)[0], rtol=1e-4, atol=1e-5)
    assert len(compute_features(frozen, data, pooled_features)[0]) == 1
    both = compute_features(frozen, data, lambda vit, images: pooled_features(vit, images, 'both'))[0]
    torch.testing.assert_close(both[0][:, 192:], features[0])
    token = compute_features(frozen, data, lambda vit, images: pooled_features(vit, images, 'class'))[0]
    torch.testing.assert_close(both[0][:, :192], token[0])
