import pytest
import torch
import torch.nn.functional as F

import backbones.vit.linear as module
from backbones.vit.linear import Linear, conv_linear, conv_wanted, cpu_vendor, linear
from tests.helpers import relative_error

ZEN = 'processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f\n'


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Ask again for what is asked once, before and after."""
    monkeypatch.delenv(module.SWITCH, raising=False)
    module._decide.cache_clear()
    yield
    monkeypatch.undo()
    module._decide.cache_clear()


@pytest.fixture
def conv(monkeypatch):
    """Convolutions on any processor and for small products too; gives the shapes that they were called with."""
    monkeypatch.setenv(module.SWITCH, 'conv')
    monkeypatch.setattr(module, 'LEAST_PRODUCTS', 60)
    monkeypatch.setattr(module, 'LEAST_TOKENS', 6)
    called = []
    original = F.conv2d
    monkeypatch.setattr(F, 'conv2d', lambda *args: called.append(tuple(args[0].shape)) or original(*args))
    return called


def drawn(*shape):
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator).requires_grad_()


@pytest.mark.parametrize('shape', [(7, 5), (2, 7, 5), (3, 1, 2, 5), (30, 5)])
@pytest.mark.parametrize('has_bias', [True, False])
def test_linear__conv_is_the_product(conv, shape, has_bias):
    """Values and gradients, in two, three and four dimensions, with and without bias."""
    tokens, weight, bias = drawn(*shape), drawn(4, 5), drawn(4) if has_bias else None
    inputs = [tokens, weight, bias] if has_bias else [tokens, weight]
    actual, expected = linear(tokens, weight, bias), F.linear(tokens, weight, bias)
    assert conv == [(1, 5, 1, tokens.numel() // 5)]
    slope = torch.randn_like(expected)
    pairs = zip(torch.autograd.grad(actual, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True)
    assert actual.shape == expected.shape and relative_error(actual, expected) < 1e-6
    assert all(relative_error(ours, plain) < 1e-6 for ours, plain in pairs)


def test_linear__conv_of_a_part_of_a_tensor(conv):
    """Tokens and weight that lie in memory with gaps, and transposed."""
    tokens, weight = drawn(2, 9, 10)[:, 1:, ::2], drawn(5, 8).t()[::2]
    assert relative_error(linear(tokens, weight), F.linear(tokens, weight)) < 1e-6
    assert conv


def test_linear__large_products_of_the_real_size():
    """A layer of ViT-B on 197 tokens, against float64, by both kernels: neither is further off than 1e-6."""
    tokens, weight, bias = torch.randn(1, 197, 768), torch.randn(2304, 768) / 28, torch.randn(2304)
    truth = F.linear(tokens.double(), weight.double(), bias.double())
    for actual in (linear(tokens, weight, bias), F.linear(tokens, weight, bias), conv_linear(tokens, weight, bias)):
        assert relative_error(actual.double(), truth) < 1e-6


def test_linear__small_other_types_and_autocast_are_products(conv):
    weight, large = drawn(4, 5), drawn(9, 5)
    for tokens, wide in ((drawn(5, 5), drawn(40, 5)), (large, weight[:1])):
        assert torch.equal(linear(tokens, wide), F.linear(tokens, wide))
    assert torch.equal(linear(large.double(), weight.double()), F.linear(large.double(), weight.double()))
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(linear(large, weight), F.linear(large, weight))
    assert conv == []


def test_linear__no_tokens(conv):
    assert linear(torch.empty(0, 5), drawn(4, 5)).shape == (0, 4)


def test_linear__module_is_torchs():
    torch.manual_seed(0)
    ours = Linear(5, 3)
    torch.manual_seed(0)
    plain = torch.nn.Linear(5, 3)
    assert isinstance(ours, torch.nn.Linear) and torch.equal(ours.weight, plain.weight)
    tokens = drawn(2, 5)
    assert torch.equal(ours(tokens), plain(tokens))


def test_linear__compiled_is_the_product(conv):
    """One graph for every number of tokens: the choice, which depends on it, is not made there."""
    layer, tokens = Linear(5, 3), drawn(9, 5)
    compiled = torch.compile(layer, fullgraph=True, backend='eager', dynamic=True)
    assert torch.equal(compiled(tokens), F.linear(tokens, layer.weight, layer.bias))
    assert conv == []


@pytest.mark.parametrize(
    ('info', 'instructions', 'expected'),
    [
        (ZEN, 'AVX512', True),
        (ZEN, 'AVX2', False),
        (ZEN.replace('AuthenticAMD', 'GenuineIntel'), 'AVX512', False),
    ],
)
def test_conv_wanted__on_amd_with_avx512(info, instructions, expected, tmp_path, monkeypatch):
    (tmp_path / 'cpuinfo').write_text(info)
    monkeypatch.setattr(module, 'CPU_INFO', tmp_path / 'cpuinfo')
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: instructions)
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: True)
    assert conv_wanted() is expected
    module._decide.cache_clear()
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: False)
    assert conv_wanted() is False


@pytest.mark.parametrize('choice', ['conv', 'matmul'])
def test_conv_wanted__as_the_user_says(choice, monkeypatch):
    monkeypatch.setenv(module.SWITCH, choice)
    assert conv_wanted() is (choice == 'conv')


def test_conv_wanted__refuses_another_word(monkeypatch):
    monkeypatch.setenv(module.SWITCH, 'quick')
    with pytest.raises(ValueError, match='DENSE_MAE_LINEAR=quick: choose conv or matmul'):
        conv_wanted()


def test_cpu_vendor__without_cpuinfo_as_python_says(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'CPU_INFO', tmp_path / 'absent')
    monkeypatch.setattr(module.platform, 'processor', lambda: 'AMD64 Family 25 Model 17, AuthenticAMD')
    assert 'AuthenticAMD' in cpu_vendor()


@pytest.mark.parametrize(
    ('choice', 'told'),
    [
        ('conv', "oneDNN's convolutions (DENSE_MAE_LINEAR=conv)"),
        ('matmul', 'matrix products (DENSE_MAE_LINEAR=matmul)'),
    ],
)
def test_describe__kernel_and_reason(monkeypatch, choice, told):
    monkeypatch.setenv(module.SWITCH, choice)
    (line,) = module.describe('cpu')
    assert line.startswith('large linear layers in float32: ') and line.endswith(told)
    assert module.describe('cuda') == []


def test_describe__left_to_the_processor():
    kernel = "oneDNN's convolutions" if conv_wanted() else "PyTorch's matrix products"
    (line,) = module.describe('cpu')
    assert f': {kernel} (by the processor; DENSE_MAE_LINEAR=' in line
