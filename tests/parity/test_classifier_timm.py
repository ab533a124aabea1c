"""Classifiers with the weights of timm's ViT and BEiT: same logits, loss and gradients of the head.

Official MAE fine-tunes timm's ViT with ``global_pool='avg'`` and ``fc_norm``; tolerance 1e-5 relative.
"""

import pytest
import timm.models.beit
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from backbones.checkpoint.load import load_pretrained
from pretrain.evaluation.classify import Classifier
from pretrain.evaluation.head import load_head
from tests.helpers import randomise, relative_error

SIZES = dict(embed_dim=48, depth=3, num_heads=4)
# (H, W): not square, and not as many patches as images.
SHAPE = dict(img_size=(40, 24), patch_size=8)
CLASSES = 7


def timm_vit(pool):
    pooling = dict(global_pool='avg', fc_norm=True) if pool == 'mean' else dict(global_pool='token')
    return VisionTransformer(num_classes=CLASSES, **SHAPE, **SIZES, **pooling)


def timm_beit():
    # No absolute positions: what it has instead is in every block.
    options = dict(use_abs_pos_emb=False, use_rel_pos_bias=True, init_values=0.1, global_pool='avg')
    return timm.models.beit.Beit(num_classes=CLASSES, **SHAPE, **SIZES, **options)


CASES = {
    'mean': (lambda: timm_vit('mean'), 'mean', {}),
    'class': (lambda: timm_vit('class'), 'class', {}),
    'beit': (timm_beit, 'mean', dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1)),
}


@pytest.mark.parametrize('case', CASES)
def test_classifier__logits_loss_and_gradients(tmp_path, case):
    build, pool, options = CASES[case]
    theirs = randomise(build()).eval()
    torch.save({'model': theirs.state_dict()}, tmp_path / 'a.pth')
    backbone = dict(type='PlainViT', variant=SIZES, out_norm=pool == 'class', **SHAPE, **options)
    ours = Classifier(backbone, CLASSES, pool, augment=dict(label_smoothing=0.1)).eval()
    load_pretrained(ours.backbone, tmp_path / 'a.pth')
    load_head(ours, tmp_path / 'a.pth')
    images, labels = torch.randn(4, 3, 40, 24), torch.tensor([0, 6, 3, 3])
    expected = theirs(images)
    assert relative_error(ours(images), expected) <= 1e-5
    loss = ours(images, labels, mode='loss')['loss']
    their_loss = F.cross_entropy(expected, labels, label_smoothing=0.1)
    assert abs(loss.item() / their_loss.item() - 1) <= 1e-5
    loss.backward()
    their_loss.backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        mine = name.removeprefix('backbone.')
        if mine in gradients:
            assert relative_error(parameter.grad, gradients[mine].grad) <= 1e-4, name
