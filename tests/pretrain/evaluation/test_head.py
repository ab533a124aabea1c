"""A classifier that goes on from a fine-tuned one, at another resolution."""

import pytest
import torch

from backbones import ShardedModel
from backbones.checkpoint.load import load_pretrained
from backbones.openmmlab.repairs.mmengine.sharded import whole
from backbones.vit.pos_embed import resample_pos_embed
from pretrain.evaluation.classify import Classifier
from pretrain.evaluation.head import load_head
from tests.helpers import randomise
from tests.two_processes import in_two

SIZES = dict(embed_dim=24, depth=2, num_heads=3)
CLASSES = ('ant', 'bee', 'cat')


def classifier(size, pool='mean', count=3, **options):
    backbone = dict(type='PlainViT', variant=SIZES, img_size=size, patch_size=8, out_norm=pool == 'class', **options)
    return Classifier(backbone, count, pool).eval()


def saved(tmp_path, **options):
    model = randomise(classifier(32, **options))
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, tmp_path / 'fine.pth')
    return model, tmp_path / 'fine.pth'


@torch.no_grad()
@pytest.mark.parametrize('pool', ['mean', 'class'])
def test_higher_resolution__positions_resampled_and_head_kept(tmp_path, pool):
    old, path = saved(tmp_path, pool=pool)
    new = classifier(48, pool)
    report = load_pretrained(new.backbone, path)
    load_head(new, path, CLASSES)
    assert 'pos_embed' in report.resized
    expected = resample_pos_embed(old.backbone.pos_embed, (4, 4), (6, 6))
    assert torch.equal(new.backbone.pos_embed, expected)
    # PlainViT resamples at run time what is not resampled before.
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(new(images), old(images), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_higher_resolution__beit_tables(tmp_path):
    options = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1)
    old, path = saved(tmp_path, **options)
    new = classifier(48, **options)
    report = load_pretrained(new.backbone, path)
    load_head(new, path)
    assert len(report.resized) == 2
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(new(images), old(images), rtol=1e-5, atol=1e-5)


def test_transfer__other_classes_keep_the_backbone_and_refuse_the_head(tmp_path):
    old, path = saved(tmp_path)
    new = classifier(32, count=5)
    load_pretrained(new.backbone, path)
    assert torch.equal(new.backbone.blocks[1].mlp.fc1.weight, old.backbone.blocks[1].mlp.fc1.weight)
    assert not new.head.bias.any()
    with pytest.raises(ValueError, match=r'has head.weight of shape \(3, 24\), the model \(5, 24\)'):
        load_head(new, path)


def test_load_head__classes_of_other_names(tmp_path):
    _, path = saved(tmp_path)
    with pytest.raises(ValueError, match=r'other classes apart \(3: ant, bee, cat\) than the data \(3: a, b, c\)'):
        load_head(classifier(32), path, ('a', 'b', 'c'))


def test_load_head__other_pooling_changes_nothing(tmp_path):
    _, path = saved(tmp_path, pool='class')
    new = classifier(32)
    before = new.head.weight.clone()
    with pytest.raises(ValueError, match=r'has fc_norm\.weight of shape none'):
        load_head(new, path)
    assert torch.equal(new.head.weight, before)


def shard_and_load(path):
    """Two processes with half of every weight each, which take the head of a file."""
    model = classifier(32)
    ShardedModel(model)
    before = model.head.weight.full_tensor().clone()
    load_head(model, path, CLASSES)
    return before, {name: whole(value) for name, value in model.state_dict().items() if name.startswith(('head', 'fc'))}


@pytest.mark.skipif(not hasattr(torch.cpu.Stream, 'record_event'), reason='a torch that shards on CPUs')
def test_load_head__of_a_sharded_model(tmp_path):
    old, path = saved(tmp_path)
    for before, state in in_two(tmp_path, shard_and_load, path):
        assert not torch.equal(before, old.head.weight)
        assert len(state) == 4
        for name, value in state.items():
            assert torch.equal(value, old.state_dict()[name])
