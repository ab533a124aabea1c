"""`torch.export` of the backbone with sizes left open: the values of the model at other sizes, nothing baked in."""

import pytest
import torch
from torch.export import Dim

from backbones import PlainViT
from backbones.pyramid import DeconvPyramid, SimpleFeaturePyramid
from backbones.vit import linear as linear_module
from backbones.vit.exporting import is_exporting, is_open, same_grid
from tests.helpers import randomise, relative_error

SIZES = dict(embed_dim=32, depth=2, num_heads=2)
WINDOWS = dict(window_size=3, global_blocks=(1,))
MODELS = {
    'plain': (dict(), DeconvPyramid),
    'table': (dict(rel_pos='table', use_abs_pos=False), DeconvPyramid),
    'vitdet': (WINDOWS | dict(rel_pos='decomposed'), SimpleFeaturePyramid),
}
# Whole patches, the model's own grid among them; and a size that is padded.
SHAPES = [(1, 3, 96, 96), (3, 3, 96, 128), (1, 3, 98, 117), (2, 3, 144, 96)]


@pytest.fixture
def conv(monkeypatch):
    """A processor on which large products run as convolutions, and every product is large."""
    monkeypatch.setattr(linear_module, 'conv_wanted', lambda: True)
    monkeypatch.setattr(linear_module, 'LEAST_PRODUCTS', 1)
    monkeypatch.setattr(linear_module, 'LEAST_TOKENS', 1)


def model_of(name):
    options, pyramid = MODELS[name]
    return randomise(torch.nn.Sequential(PlainViT(SIZES, img_size=96, **options), pyramid(32))).eval()


@pytest.mark.parametrize('name', MODELS)
def test_export__batch_and_image_left_open(name, conv):
    model = model_of(name)
    open_sizes = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(2, 3, 112, 144),), dynamic_shapes=(open_sizes,), strict=False)
        exported = program.module()
        for shape in SHAPES:
            images = torch.randn(shape)
            pairs = zip(exported(images), model(images), strict=True)
            assert max(relative_error(actual, expected) for actual, expected in pairs) < 1e-5, shape
    targets = [str(node.target) for node in program.graph.nodes]
    # The projection of the patches and those of the pyramid; no linear layer, whatever the processor.
    assert sum('conv2d' in target for target in targets) == sum(
        isinstance(module, torch.nn.Conv2d) for module in model.modules()
    )
    assert not any('chunked_attention' in target for target in targets)


@pytest.mark.parametrize('name', MODELS)
def test_export__fixed_sizes_have_pytorchs_operators_only(name):
    """Other runtimes, ONNX among them, know no operator of ours; here in another grid than the tables'."""
    model, images = model_of(name), torch.randn(1, 3, 112, 96)
    with torch.no_grad():
        program = torch.export.export(model, (images,), strict=False)
        pairs = zip(program.module()(images), model(images), strict=True)
        assert max(relative_error(actual, expected) for actual, expected in pairs) < 1e-5
    assert not any('dense_mae' in str(node.target) for node in program.graph.nodes)


def test_sizes__numbers_are_never_open():
    assert not is_exporting() and not is_open(3, 4)
    assert same_grid((3, 4), [3, 4]) and not same_grid((3, 4), (3, 5))
