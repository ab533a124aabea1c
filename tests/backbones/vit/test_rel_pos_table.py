"""BEiT's tables: the bias by plain loops, the resampling bit by bit against what BEiT called.

That was SciPy's interp2d, removed in 1.14: its numbers are stored here, computed by 1.11.4, and RectBivariateSpline
stands in for it at published sizes. There too interp2d itself was run apart: the same bits in 300 000 numbers.
"""

import numpy as np
import pytest
import torch
from scipy.interpolate import RectBivariateSpline
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.vit import rel_pos_table
from backbones.vit.rel_pos_table import (
    SharedTable,
    geometric_places,
    resample_table,
    resampling_device,
    spline_matrix,
    table_bias,
    table_rows,
)
from tests.helpers import fake_cuda

# interp2d(kind='cubic') over BEiT's geometric places, of the table below (3 x 3 patches).
TO_4X4 = [
    [-4.5, -5.80856848, 0.5, 5.5, -0.5, -2.5514195, 4.5],
    [-1.68095458, -3.63416648, -1.966663, -2.25237131, -10.1857014, -9.19006443, 1.57619452],
    [4.5, 3.646667, 1.5, -1.5, -4.5, -1.9533273, 3.5],
    [5.5, 5.5, 5.5, 5.5, 5.5, 5.5, 5.5],
    [-1.5, -3.26571131, 1.5, 4.5, -3.5, -7.09427691, -0.5],
    [-2.25237131, -3.79121375, -1.966663, -1.68095458, -8.41427231, -10.8067141, -5.50952053],
    [5.5, 6.80856848, 0.5, -4.5, 1.5, 3.5514195, -3.5],
]
TO_2X5 = [
    [4.5, 4.5, 3.646667, 1.5, -1.5, -4.5, -1.9533273, 3.5, 3.5],
    [5.5, 5.5, 5.5, 5.5, 5.5, 5.5, 5.5, 5.5, 5.5],
    [-1.5, -1.5, -3.26571131, 1.5, 4.5, -3.5, -7.09427691, -0.5, -0.5],
]


def small_table():
    """(28, 2): offsets of 3 x 3 patches under a formula, the second head twice the first; then the class rows."""
    rows = [[(7 * i * i + 3 * i * j + 5 * j + 2 * i) % 11 - 4.5 for j in range(5)] for i in range(5)]
    offsets = torch.tensor(rows).reshape(25, 1)
    return torch.cat([offsets, torch.tensor([[9.0], [8.0], [7.0]])]) * torch.tensor([1.0, 2.0])


def test_table_bias__plain_loop():
    grid, table = (2, 4), torch.randn(3 * 7 + 3, 5)
    bias = table_bias(table, grid, grid)
    assert bias.shape == (5, 9, 9)
    for q in range(8):
        for k in range(8):
            (qy, qx), (ky, kx) = divmod(q, 4), divmod(k, 4)
            torch.testing.assert_close(bias[:, 1 + q, 1 + k], table[7 * (qy - ky + 1) + qx - kx + 3])
    torch.testing.assert_close(bias[:, 0, 0], table[23])
    for place in range(1, 9):
        torch.testing.assert_close(bias[:, 0, place], table[21])
        torch.testing.assert_close(bias[:, place, 0], table[22])


def test_table_bias__other_grid_is_that_of_the_resampled_table():
    table = torch.randn(table_rows((3, 4)), 2)
    resampled = resample_table(table, (3, 4), (5, 2))
    torch.testing.assert_close(table_bias(table, (3, 4), (5, 2)), table_bias(resampled, (5, 2), (5, 2)))


@pytest.mark.parametrize(('grid', 'golden'), [((4, 4), TO_4X4), ((2, 5), TO_2X5)])
def test_resample_table__bits_of_interp2d(grid, golden):
    table = resample_table(small_table(), (3, 3), grid)
    expected = torch.tensor(golden).reshape(-1, 1) * torch.tensor([1.0, 2.0])
    assert torch.equal(table[:-3], expected)
    assert torch.equal(table[-3:], torch.tensor([[9.0, 18.0], [8.0, 16.0], [7.0, 14.0]]))


@pytest.mark.parametrize(('old', 'new'), [(14, 32), (14, 40), (24, 40), (16, 14)])
def test_resample_table__bits_of_rect_bivariate_spline(old, new):
    size = 2 * old - 1
    table = torch.randn(size * size + 3, 2)
    places, wanted = geometric_places(old - 1, new - 1), np.arange(1.0 - new, new)
    for head in range(2):
        values = table[:-3, head].reshape(size, size).numpy()
        expected = RectBivariateSpline(places, places, values)(wanted, wanted).astype(np.float32)
        assert np.array_equal(resample_table(table, (old, old), (new, new))[:-3, head].numpy(), expected.ravel())


def test_resample_table__axis_that_stays_is_left_alone():
    # A table that varies along x only stays so, and along x it is what the other axis would be.
    line = torch.randn(7)
    along_x = torch.cat([line.repeat(5).reshape(-1, 1), torch.zeros(3, 1)])
    along_y = torch.cat([line.repeat_interleave(5).reshape(-1, 1), torch.zeros(3, 1)])
    wide = resample_table(along_x, (3, 4), (3, 6))[:-3].reshape(5, 11)
    tall = resample_table(along_y, (4, 3), (6, 3))[:-3].reshape(11, 5)
    assert torch.equal(wide[0], wide[4])
    assert torch.equal(wide, tall.t())
    assert not torch.equal(wide[0, 2:9], line)
    assert torch.equal(wide[0, 5], line[3])


@pytest.mark.parametrize(('old', 'expected'), [(1, [4.0, 4.0, 4.0, 4.0, 4.0]), (2, [1.0, 1.0, 4.0, 9.0, 9.0])])
def test_resample_table__too_small_for_a_cubic(old, expected):
    # One place is constant, three carry a parabola; its ends stay at their offsets of one and are held from there.
    line = torch.tensor([4.0] if old == 1 else [1.0, 4.0, 9.0])
    table = torch.cat([line.reshape(-1, 1), torch.zeros(3, 1)])
    resampled = resample_table(table, (1, old), (1, 3))
    torch.testing.assert_close(resampled[:-3, 0], torch.tensor(expected))


def test_resample_table__gradient():
    table = torch.randn(table_rows((2, 3)), 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: resample_table(t, (2, 3), (4, 2)), table)


def test_resample_table__usable_for_training_after_inference_mode():
    spline_matrix.cache_clear()
    table = torch.randn(table_rows((3, 3)), 2, requires_grad=True)
    with torch.inference_mode():
        resample_table(table, (3, 3), (4, 5))
    resample_table(table, (3, 3), (4, 5)).sum().backward()
    assert table.grad[-3:].eq(1).all()


def test_resample_table__wrong_grid_is_named():
    with pytest.raises(ValueError, match='a 3x4 grid has 38 rows, this one has 28'):
        resample_table(small_table(), (3, 4), (3, 4))


def test_resample_table__apples_gpu_has_no_double_precision(monkeypatch):
    """A device served as Apple's is: no tensor of float64 on it, and the result is there."""
    seen = set()

    class Notes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                seen.add((out.device.type, out.dtype))
            return out

    assert resampling_device(torch.device('cuda', 1)) == torch.device('cuda', 1)
    assert resampling_device(torch.device('mps')) == torch.device('cpu')
    monkeypatch.setattr(rel_pos_table, 'resampling_device', lambda device: torch.device('cpu'))
    with fake_cuda() as device:
        table = torch.empty(table_rows((3, 3)), 2, device=device)
        with Notes():
            resampled = resample_table(table, (3, 3), (4, 5))
    assert resampled.device.type == 'cuda' and resampled.dtype == torch.float32
    assert ('cpu', torch.float64) in seen and ('cuda', torch.float64) not in seen


def test_geometric_places__ends_meet_and_the_centre_stays():
    places = geometric_places(13, 31)
    assert len(places) == 27
    np.testing.assert_allclose(places[[12, 13, 14, -1]], [-1, 0, 1, 31], atol=1e-3)
    gaps = np.diff(places[13:])
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], gaps[1], rtol=1e-9)
    # No ratio above 1.5: 1 + 1.5 + 2.25
    np.testing.assert_allclose(geometric_places(3, 9)[-1], 4.75, atol=1e-4)


def test_shared_table__starts_at_zero_under_the_published_name():
    shared = SharedTable((3, 2), 4)
    assert {name: tuple(p.shape) for name, p in shared.named_parameters()} == {
        'relative_position_bias_table': (5 * 3 + 3, 4)
    }
    assert not shared((3, 2)).any()
