"""Plain pickles of arrays are read and nothing else; archives that claim too much are not unpacked."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from backbones.checkpoint.read import read_checkpoint
from tests.backbones.checkpoint.test_read import Attack, refusal


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
def test_read_checkpoint__pickle_of_arrays(tmp_path, protocol):
    arrays = OrderedDict(
        w=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        big_endian=np.array([1.5, -2], dtype='>f4'),
        half=np.ones((1, 2, 2), dtype=np.float16),
        scalar=np.float64(0.25),
        bias=np.zeros(0, dtype=np.int64),
    )
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'model': arrays, '__author__': 'x', 'n': 3}, protocol=protocol))
    content = read_checkpoint(tmp_path / 'a.pkl')
    assert (content['__author__'], content['n'], float(content['model']['scalar'])) == ('x', 3, 0.25)
    assert content['model']['w'].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content['model']['fortran'].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content['model']['big_endian'].tolist() == [1.5, -2]
    assert content['model']['half'].dtype == torch.float16
    assert content['model']['bias'].shape == (0,)
    assert content['model']['w'].add_(1).sum() == 21


def test_read_checkpoint__pickle_of_python_2(tmp_path):
    # Python 2 wrote an array's bytes as text of protocol 2, without the call that Python 3 puts around them.
    values = np.array([1.5, -2.0], dtype='<f4')
    text = b'U\x08' + values.tobytes()
    array = (
        b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR'
        b'(K\x01(K\x02tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
    )
    (tmp_path / 'a.pkl').write_bytes(b'\x80\x02}U\x01w' + array + text + b'tbs.')
    assert read_checkpoint(tmp_path / 'a.pkl')['w'].tolist() == [1.5, -2]


def test_read_checkpoint__code_in_a_plain_pickle(tmp_path):
    trace = tmp_path / 'trace'
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'model': {'w': np.ones(2)}, 'hook': Attack(trace)}))
    assert 'asks for posix.system' in refusal(tmp_path / 'a.pkl')
    assert not trace.exists()


@pytest.mark.parametrize(
    ('content', 'wanted'),
    [
        (Call(eval, '1'), 'builtins.eval'),
        (Call(getattr, {}, 'keys'), 'builtins.getattr'),
        (Call(np.load, 'x'), 'numpy.load'),
        (torch.ones(2), 'torch._utils._rebuild_tensor_v2'),
    ],
)
def test_read_checkpoint__plain_pickle_names_what_it_asks_for(tmp_path, content, wanted):
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'w': content}))
    assert f'asks for {wanted}' in refusal(tmp_path / 'a.pkl')


@pytest.mark.parametrize('content', [Call(np.ndarray, (10**15,)), np.array([{}, None], dtype=object)])
def test_read_checkpoint__plain_pickle_of_what_no_tensor_is(tmp_path, content):
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'w': content}))
    assert 'damaged' in refusal(tmp_path / 'a.pkl')


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'', 'empty'),
        (b'loss 0.31\n', 'damaged'),
        (b'<html>404</html>', 'web page'),
        (pickle.dumps({'w': 1})[:-3], 'cut'),
    ],
)
def test_read_checkpoint__pkl_that_is_none(tmp_path, content, told):
    (tmp_path / 'a.pkl').write_bytes(content)
    assert told in refusal(tmp_path / 'a.pkl')


@pytest.mark.parametrize('suffix', ['pth', 'pkl'])
def test_read_checkpoint__archive_that_claims_too_much(tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', pickle.dumps({'w': 1}))
        archive.writestr('a/data/0', bytes(1_000_000))
    assert path.stat().st_size < 10_000
    assert 'claim to hold 1000' in refusal(path)


def test_read_checkpoint__archive_saved_by_torch_in_a_pkl(tmp_path):
    torch.save({'w': torch.arange(3)}, tmp_path / 'a.pkl')
    assert read_checkpoint(tmp_path / 'a.pkl')['w'].tolist() == [0, 1, 2]
