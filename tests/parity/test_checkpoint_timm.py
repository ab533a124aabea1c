"""timm models, saved as timm saves them, through the door: features equal timm's (<= 1e-5 of the largest value)."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer_sam import VisionTransformerSAM

from backbones import PlainViT, load_pretrained
from tests.helpers import randomise, relative_error


def timm_vit(img_size=224, **options):
    return timm.create_model('vit_tiny_patch16_224', pretrained=False, img_size=img_size, **options)


def save(model, path):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('num_classes', [0, 5])
def test_timm_file__features_at_its_own_size(tmp_path, suffix, num_classes):
    theirs = randomise(timm_vit(num_classes=num_classes)).eval()
    save(theirs, tmp_path / f'vit.{suffix}')
    ours = PlainViT('tiny', out_norm=True).eval()
    report = load_pretrained(ours, tmp_path / f'vit.{suffix}')
    assert report.format == 'timm'
    assert set(report.left_over) == ({'head.weight', 'head.bias'} if num_classes else set())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


@pytest.mark.parametrize('class_row', [True, False])
def test_timm_file__features_at_another_size(tmp_path, class_row):
    saved = randomise(timm_vit(num_classes=0, no_embed_class=not class_row)).eval()
    save(saved, tmp_path / 'vit.pth')
    ours = PlainViT('tiny', img_size=(96, 160), out_norm=True).eval()
    report = load_pretrained(ours, tmp_path / 'vit.pth')
    assert report.resized == {'pos_embed': ((1, 196 + class_row, 192), (1, 61, 192))}

    theirs = timm_vit((96, 160), num_classes=0, no_embed_class=not class_row).eval()
    positions = timm.layers.resample_abs_pos_embed(
        saved.pos_embed.data, new_size=[6, 10], num_prefix_tokens=int(class_row), antialias=False
    )
    theirs.load_state_dict(saved.state_dict() | {'pos_embed': positions})
    images = torch.randn(2, 3, 96, 160)
    with torch.no_grad():
        assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


def test_timm_file__pooled_classifier(tmp_path):
    theirs = randomise(timm_vit(num_classes=5, global_pool='avg')).eval()
    save(theirs, tmp_path / 'vit.pth')
    ours = PlainViT('tiny').eval()
    report = load_pretrained(ours, tmp_path / 'vit.pth')
    assert set(report.left_over) == {'fc_norm.weight', 'fc_norm.bias', 'head.weight', 'head.bias'}
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        # timm's norm is an identity here: fc_norm follows the pooling.
        assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


def test_timm_file__layer_scale(tmp_path):
    theirs = randomise(timm_vit(num_classes=0, init_values=1e-5)).eval()
    save(theirs, tmp_path / 'vit.pth')
    with pytest.raises(
        ValueError, match=r'unexpected +blocks\.\*\.gamma_1 \(12\)[^~]+in_channels 3, layer_scale=1.0\n'
    ):
        load_pretrained(PlainViT('tiny', out_norm=True), tmp_path / 'vit.pth')
    ours = PlainViT('tiny', out_norm=True, layer_scale=1.0).eval()
    load_pretrained(ours, tmp_path / 'vit.pth')
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


@pytest.mark.parametrize('size', [(64, 64), (48, 80)])
@torch.no_grad()
def test_timm_file__distilled_without_its_second_token(tmp_path, size):
    sizes = dict(img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=3)
    theirs = timm.create_model('deit_tiny_distilled_patch16_224', dynamic_img_size=True, **sizes)
    randomise(theirs).eval()
    save(theirs, tmp_path / 'a.safetensors')
    ours = PlainViT(dict(embed_dim=48, depth=3, num_heads=3), img_size=64, patch_size=8, out_norm=True).eval()
    report = load_pretrained(ours, tmp_path / 'a.safetensors')
    assert report.resized == {'pos_embed': ((1, 66, 48), (1, 65, 48))}
    assert set(report.left_over) == {'dist_token'} | {
        f'{h}.{p}' for h in ('head', 'head_dist') for p in ('weight', 'bias')
    }
    images = torch.randn(2, 3, *size)
    if size != (64, 64):
        positions = timm.layers.resample_abs_pos_embed(
            theirs.pos_embed, new_size=[6, 10], num_prefix_tokens=2, antialias=False
        )
        tokens = theirs.patch_embed(images).flatten(1, 2) + positions[:, 2:]
        tokens = torch.cat([(theirs.cls_token + positions[:, :1]).expand(2, -1, -1), tokens], dim=1)
    else:
        tokens = theirs._pos_embed(theirs.patch_embed(images))
        tokens = torch.cat([tokens[:, :1], tokens[:, 2:]], dim=1)
    assert relative_error(ours.encode(ours.embed(images)), theirs.norm(theirs.blocks(tokens))) <= 1e-5


@pytest.mark.parametrize(
    ('model', 'told'),
    [
        ('vit_base_patch16_clip_224', 'a norm in front of the blocks'),
        ('vit_base_patch16_reg4_gap_256', 'register tokens'),
        ('deit3_base_patch16_224', 'layer_scale=1.0'),
        ('vit_base_patch16_rpn_224', 'missing      cls_token'),
    ],
)
def test_timm_file__other_networks_are_refused(tmp_path, model, told):
    theirs = timm.create_model(model, pretrained=False, embed_dim=48, depth=3, num_heads=3)
    save(theirs, tmp_path / 'a.pth')
    with pytest.raises(ValueError) as caught:
        load_pretrained(PlainViT(dict(embed_dim=48, depth=3, num_heads=3)), tmp_path / 'a.pth')
    assert told in str(caught.value)


@torch.no_grad()
def test_timm_file__deit3_has_no_position_for_the_class_token(tmp_path):
    sizes = dict(img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=3)
    theirs = randomise(timm.create_model('deit3_base_patch16_224', **sizes)).eval()
    save(theirs, tmp_path / 'a.safetensors')
    ours = PlainViT(
        dict(embed_dim=48, depth=3, num_heads=3), img_size=64, patch_size=8, out_norm=True, layer_scale=1.0
    ).eval()
    report = load_pretrained(ours, tmp_path / 'a.safetensors')
    assert report.resized == {'pos_embed': ((1, 64, 48), (1, 65, 48))}
    images = torch.randn(2, 3, 64, 64)
    assert relative_error(ours.encode(ours.embed(images)), theirs.forward_features(images)) <= 1e-5


@pytest.mark.parametrize('official', [False, True])
@pytest.mark.parametrize('size', [(64, 64), (40, 88)])
@torch.no_grad()
def test_timm_file__features_of_sams_image_encoder(tmp_path, size, official):
    sizes = dict(img_size=size, patch_size=8, embed_dim=48, depth=3, num_heads=3, mlp_ratio=4, num_classes=0)
    theirs = VisionTransformerSAM(**sizes, window_size=3, global_attn_indexes=(1, 2), use_rel_pos=True, neck_chans=8)
    state = randomise(theirs).eval().state_dict()
    if official:
        state = {f'image_encoder.{n.replace("mlp.fc", "mlp.lin")}': value for n, value in state.items()}
    torch.save(state, tmp_path / 'sam.pth')
    options = dict(window_size=3, global_blocks=(1, 2), rel_pos='decomposed', pretrain_img_size=size)
    ours = PlainViT(dict(embed_dim=48, depth=3, num_heads=3), img_size=size, patch_size=8, **options).eval()
    report = load_pretrained(ours, tmp_path / 'sam.pth')
    assert report.left_over and not report.kept
    assert all('neck' in reason for reason in report.left_over.values())
    images = torch.randn(2, 3, *size)
    tokens = theirs.blocks(theirs.patch_embed(images) + theirs.pos_embed)
    # (B, H, W, C) -> (B, C, H, W)
    assert relative_error(ours(images)[0], tokens.permute(0, 3, 1, 2)) <= 1e-5
