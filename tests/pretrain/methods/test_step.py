"""The pretraining step: one graph of it equals the plain one, and nothing in it waits for the device."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.engine.bf16 import BF16OptimWrapper
from pretrain.methods.denoise import DenoisingAutoencoder
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.simmim import SimMIM
from pretrain.methods.targets import Views
from tests.helpers import randomise, relative_error

ENCODER = dict(
    type='PlainViT', variant=dict(embed_dim=48, depth=2, num_heads=3), img_size=(32, 48), patch_size=8, out_norm=True
)
DECODER = dict(embed_dim=32, depth=1, num_heads=2)
MODELS = {
    'mae': lambda: MaskedAutoencoder(dict(ENCODER), DECODER, mask_ratio=0.6),
    'raw pixels, mask tokens': lambda: MaskedAutoencoder(
        dict(ENCODER), DECODER, norm_pix=False, encoder_mask_tokens=True
    ),
    'simmim': lambda: SimMIM(dict(ENCODER)),
    'denoising': lambda: DenoisingAutoencoder(dict(ENCODER)),
}
WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero', '_unique2')


def loss_and_gradients(model, function, *args):
    model.zero_grad()
    torch.manual_seed(5)
    loss = function(*args)['loss']
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize('build', MODELS.values(), ids=MODELS)
def test_losses__one_graph(build):
    torch.compiler.reset()
    model = randomise(build())
    images = torch.randn(3, 3, 32, 48)
    expected = loss_and_gradients(model, model, images, None, 'loss')
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True, dynamic=False)
    actual = loss_and_gradients(model, compiled, images, None, 'loss')
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-6
    torch.compiler.reset()


def test_losses__block_masks_are_drawn_outside_the_graph():
    torch.compiler.reset()
    model = randomise(MaskedAutoencoder(dict(ENCODER), DECODER, mask='block'))
    views = Views(torch.randn(3, 3, 32, 48), 8)
    expected = loss_and_gradients(model, model.losses, views)
    actual = loss_and_gradients(model, torch.compile(model.losses, backend='aot_eager', dynamic=False), views)
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-6
    torch.compiler.reset()


@pytest.mark.slow
def test_losses__one_graph_by_inductor():
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip('inductor needs a C++ compiler')
    torch.compiler.reset()
    model = randomise(MODELS['mae']())
    images = torch.randn(3, 3, 32, 48)
    mask = model.draw_mask(images)

    def losses():
        return model._losses(Views(images, 8), mask, 24 - 14)

    expected = loss_and_gradients(model, losses)
    actual = loss_and_gradients(model, torch.compile(losses, fullgraph=True, dynamic=False))
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-5
    torch.compiler.reset()


class CountWaits(TorchDispatchMode):
    """Finds the operators for which a host waits for its device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket.__name__ in WAITS:
            self.found.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('build', MODELS.values(), ids=MODELS)
def test_train_step__never_waits_for_the_device(build):
    model = build()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    wrapper = BF16OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    wrapper.defers_norm = True
    before = model.encoder.blocks[0].attn.qkv.weight.detach().clone()
    with CountWaits() as waits:
        model.train_step({'inputs': torch.randn(3, 3, 32, 48)}, wrapper)
    assert waits.found == []
    assert not torch.equal(before, model.encoder.blocks[0].attn.qkv.weight)
    assert wrapper.grad_norm > 0
    with CountWaits() as waits:
        model.train_step({'inputs': torch.randn(3, 3, 32, 48)}, OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0)))
    assert waits.found == ['_local_scalar_dense']
