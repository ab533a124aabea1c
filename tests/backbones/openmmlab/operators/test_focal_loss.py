"""Focal losses through mmcv.ops against their definition and autograd."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss


def sigmoid_reference(x, target, gamma, alpha, weight):
    rows = []
    for n, label in enumerate(target.tolist()):
        row = []
        for c in range(x.shape[1]):
            p = torch.sigmoid(x[n, c]) if c == label else torch.sigmoid(-x[n, c])
            row.append(-(alpha if c == label else 1 - alpha) * (1 - p) ** gamma * torch.log(p))
        scale = weight[label] if weight is not None and 0 <= label < x.shape[1] else 1.0
        rows.append(torch.stack(row) * scale)
    return torch.stack(rows)


def softmax_reference(x, target, gamma, alpha, weight):
    rows = []
    for n, label in enumerate(target.tolist()):
        p = torch.exp(x[n, label]) / torch.exp(x[n]).sum()
        scale = weight[label] if weight is not None else 1.0
        rows.append(-alpha * (1 - p) ** gamma * torch.log(p) * scale if label >= 0 else p * 0)
    return torch.stack(rows)


CASES = {
    # the sigmoid loss takes the number of classes as background, the softmax loss a negative label as ignored
    'sigmoid': (sigmoid_focal_loss, sigmoid_reference, [0, 3, 4, 1, 2, 4]),
    'softmax': (softmax_focal_loss, softmax_reference, [0, 3, -1, 1, 2, 0]),
}


@pytest.mark.parametrize('kind', CASES)
@pytest.mark.parametrize('reduction', ('mean', 'sum'))
@pytest.mark.parametrize(('gamma', 'alpha', 'weighted'), [(2.0, 0.25, False), (1.5, 0.6, True), (0.0, 0.5, False)])
def test_focal_loss__value_and_gradient(kind, reduction, gamma, alpha, weighted):
    function, reference, labels = CASES[kind]
    target = torch.tensor(labels)
    x = (2 * torch.randn(6, 4, dtype=torch.float64)).requires_grad_()
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64) if weighted else None
    actual = function(x, target, gamma, alpha, weight, reduction)
    expected = reference(x, target, gamma, alpha, weight).sum() / (6 if reduction == 'mean' else 1)
    torch.testing.assert_close(actual, expected)
    (actual_grad,) = torch.autograd.grad(3 * actual, x)
    (expected_grad,) = torch.autograd.grad(3 * expected, x)
    torch.testing.assert_close(actual_grad, expected_grad)


@pytest.mark.parametrize('kind', CASES)
def test_focal_loss__unreduced(kind):
    function, reference, labels = CASES[kind]
    x, target = torch.randn(6, 4, dtype=torch.float64), torch.tensor(labels)
    actual = function(x, target, 2.0, 0.25, None, 'none')
    torch.testing.assert_close(actual, reference(x, target, 2.0, 0.25, None))


def test_sigmoid_focal_loss__gradient_by_differences():
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 1])
    assert torch.autograd.gradcheck(lambda t: sigmoid_focal_loss(t, target, 2.0, 0.25, None, 'none'), x)


@pytest.mark.parametrize('kind', CASES)
@pytest.mark.parametrize('gamma', (0.0, 0.5, 2.0))
def test_focal_loss__extreme_logits_stay_finite(kind, gamma):
    function, _, _ = CASES[kind]
    x = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = function(x, torch.tensor([0, 0]), gamma, 0.25, None, 'sum')
    loss.backward()
    assert loss > 20
    assert x.grad.isfinite().all()
    # the right answer wants nothing, the wrong one wants its logits moved
    assert x.grad[0].abs().max() < 1e-6
    assert x.grad[1, 0] < -0.2


@pytest.mark.parametrize('kind', CASES)
@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_focal_loss__half_precision(kind, dtype):
    function, reference, labels = CASES[kind]
    target = torch.tensor(labels)
    x = torch.randn(6, 4).to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    actual = function(x, target, 2.0, 0.25, None, 'sum')
    expected = reference(wide, target, 2.0, 0.25, None).sum()
    assert actual.dtype == dtype
    # mmcv computes the softmax itself in the input's precision
    bound = 20 * torch.finfo(dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=bound, atol=bound)
    actual.backward()
    expected.backward()
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=bound, atol=bound)


@pytest.mark.parametrize('kind', CASES)
def test_focal_loss__no_boxes(kind):
    x = torch.zeros(0, 4, requires_grad=True)
    loss = CASES[kind][0](x, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0
    assert x.grad.shape == (0, 4)
