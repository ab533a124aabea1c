import os
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from backbones.checkpoint.module_pickles import read_modules


@pytest.fixture
def dall_e(monkeypatch):
    """A package of the dVAE's name and habits: own convolution with parameters w and b, kept device and numbers."""
    package = ModuleType('dall_e.utils')

    class Conv2d(nn.Module):
        def __init__(self, n_in, n_out, kw):
            super().__init__()
            self.device, self.kw = torch.device('cpu'), kw
            self.w = nn.Parameter(torch.randn(n_out, n_in, kw, kw))
            self.b = nn.Parameter(torch.randn(n_out))

    Conv2d.__module__, Conv2d.__qualname__ = 'dall_e.utils', 'Conv2d'
    package.Conv2d = Conv2d
    monkeypatch.setitem(sys.modules, 'dall_e', ModuleType('dall_e'))
    monkeypatch.setitem(sys.modules, 'dall_e.utils', package)
    return package


def encoder(dall_e):
    group = nn.Sequential(dall_e.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2))
    return nn.Sequential(group, dall_e.Conv2d(4, 2, 1))


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_read_modules__tensors_without_the_package(dall_e, monkeypatch, tmp_path, zipped):
    module = encoder(dall_e)
    torch.save(module, tmp_path / 'encoder.pkl', _use_new_zipfile_serialization=zipped)
    for name in ('dall_e', 'dall_e.utils'):
        monkeypatch.delitem(sys.modules, name)
    tensors = read_modules(tmp_path / 'encoder.pkl')
    assert 'dall_e' not in sys.modules
    expected = module.state_dict()
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        assert type(tensors[name]) is torch.Tensor
        assert not tensors[name].requires_grad
        torch.testing.assert_close(tensors[name], value, rtol=0, atol=0)


class Command:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_read_modules__code_is_refused_by_name(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    module = nn.Linear(2, 2)
    module.note = Command()
    torch.save(module, tmp_path / 'evil.pkl', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r'evil.pkl cannot be read: its pickle asks for (posix|nt)\.system'):
        read_modules(tmp_path / 'evil.pkl')
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [(b'', 'damaged'), (b'<html>', 'damaged'), (None, 'holds a dict without parameters')],
    ids=['empty', 'web page', 'state dict'],
)
def test_read_modules__other_files(tmp_path, content, message):
    path = tmp_path / 'file.pkl'
    if content is None:
        torch.save({'weight': torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_modules(path)


def test_read_modules__no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no checkpoint'):
        read_modules(tmp_path / 'absent.pkl')
