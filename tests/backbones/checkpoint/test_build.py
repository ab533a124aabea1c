"""The model that a checkpoint is of."""

import pytest
import torch

from backbones.vit import PlainViT

TOY = dict(embed_dim=32, depth=4, num_heads=2)


def saved(path, **options):
    model = PlainViT.from_options(variant=TOY, patch_size=8, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save({'model': model.state_dict()}, path)
    return model


@pytest.mark.parametrize(
    'options',
    [
        dict(img_size=40, in_channels=4),
        dict(img_size=48, out_norm=True),
        dict(img_size=40, rel_pos='table', layer_scale=0.1, use_abs_pos=False),
        dict(img_size=96, window_size=5, global_blocks=(1, 3), rel_pos='decomposed'),
    ],
    ids=lambda options: ' '.join(options),
)
def test_from_pretrained__builds_what_the_file_is_of(options, tmp_path):
    expected = saved(tmp_path / 'vit.pth', **options)
    model = PlainViT.from_pretrained(tmp_path / 'vit.pth', variant=TOY)
    assert type(model) is PlainViT
    images = torch.randn(2, options.get('in_channels', 3), 48, 72)
    assert torch.equal(model.eval()(images)[0], expected.eval()(images)[0])


def test_from_pretrained__options_win(tmp_path):
    saved(tmp_path / 'vit.pth', img_size=40)
    model = PlainViT.from_pretrained(tmp_path / 'vit.pth', variant=TOY, img_size=64, out_indices=(1, 3))
    assert model.pos_grid == (8, 8) and model.out_indices == (1, 3)
    assert [each.shape for each in model(torch.randn(1, 3, 64, 64))] == [(1, 32, 8, 8)] * 2


def test_from_pretrained__says_what_the_file_does_not_tell(tmp_path):
    saved(tmp_path / 'vit.pth', img_size=(48, 24))
    with pytest.raises(ValueError, match=r'vit\.pth does not tell img_size, variant: give it to from_pretrained'):
        PlainViT.from_pretrained(tmp_path / 'vit.pth')
    model = PlainViT.from_pretrained(tmp_path / 'vit.pth', variant=TOY, img_size=(48, 24))
    assert model.pos_grid == (6, 3)


def test_from_pretrained__file_that_does_not_fit(tmp_path):
    saved(tmp_path / 'vit.pth', img_size=40)
    with pytest.raises(ValueError, match='does not fit the model'):
        PlainViT.from_pretrained(tmp_path / 'vit.pth', variant=dict(TOY, depth=5))
    with pytest.raises(FileNotFoundError):
        PlainViT.from_pretrained(tmp_path / 'absent.pth')
