"""Files are read without running them, and what cannot be read is told in one line."""

import argparse
import os
import re
import zipfile

import pytest
import torch
from mmengine.logging import MessageHub
from safetensors.torch import save_file
from torch import nn

from backbones.checkpoint.read import read_checkpoint


class Attack:
    """Pickles as a call of os.system that leaves a file behind."""

    def __init__(self, trace):
        self.command = f'touch {trace}'

    def __reduce__(self):
        return os.system, (self.command,)


def refusal(path):
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert '\n' not in message
    assert str(path) in message
    return message


def test_read_checkpoint__tensors_and_namespace(tmp_path):
    weights = torch.randn(3, 5)
    args = argparse.Namespace(lr=1e-3, output_dir='out', betas=(0.9, 0.95))
    torch.save({'model': {'w': weights}, 'args': args, 'epoch': 3}, tmp_path / 'a.pth')
    content = read_checkpoint(tmp_path / 'a.pth')
    torch.testing.assert_close(content['model']['w'], weights, rtol=0, atol=0)
    assert (content['args'], content['epoch']) == (args, 3)


def test_read_checkpoint__leaves_the_allow_list_as_it_was(tmp_path):
    torch.save({'args': argparse.Namespace()}, tmp_path / 'a.pth')
    read_checkpoint(str(tmp_path / 'a.pth'))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_read_checkpoint__legacy_and_safetensors(tmp_path):
    weights = torch.randn(3, 5)
    torch.save({'w': weights}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    save_file({'w': weights}, tmp_path / 'b.safetensors')
    for name in ('a.pth', 'b.safetensors'):
        torch.testing.assert_close(read_checkpoint(tmp_path / name)['w'], weights, rtol=0, atol=0)


@pytest.mark.parametrize('zipped', [True, False])
def test_read_checkpoint__code_is_refused_and_not_run(tmp_path, zipped):
    trace = tmp_path / 'trace'
    content = {'model': {'w': torch.ones(2)}, 'args': argparse.Namespace(x=Attack(trace))}
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    assert 'asks for posix.system' in refusal(tmp_path / 'a.pth')
    assert not trace.exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_read_checkpoint__log_of_mmengine_is_skipped(tmp_path, zipped):
    hub = MessageHub('test_read_checkpoint')
    hub.update_scalar('train/loss', 1.5, 3)
    hub.update_info('iter', 3)
    content = {'state_dict': {'w': torch.arange(3)}, 'meta': {'iter': 3}, 'message_hub': hub.state_dict()}
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / 'a.pth')
    assert read['state_dict']['w'].tolist() == [0, 1, 2]
    assert (read['meta'], read['message_hub']['runtime_info']) == ({'iter': 3}, {'iter': 3})


class Reach:
    """Pickles as getattr(target, name): harmless alone, and the first step of many an attack."""

    def __init__(self, target, name):
        self.call = (getattr, (target, name))

    def __reduce__(self):
        return self.call


def test_read_checkpoint__getattr_is_not_looked_up(tmp_path):
    torch.save({'w': torch.ones(2), 'reached': Reach('text', 'upper')}, tmp_path / 'a.pth')
    assert not callable(read_checkpoint(tmp_path / 'a.pth')['reached'])


@pytest.mark.parametrize(
    ('content', 'wanted'),
    [
        (nn.Linear(2, 2), 'torch.nn.modules.linear.Linear'),
        ({'path': argparse.Namespace(file=__import__('pathlib').Path('x'))}, 'PosixPath'),
    ],
)
def test_read_checkpoint__names_what_a_pickle_asks_for(tmp_path, content, wanted):
    torch.save(content, tmp_path / 'a.pth')
    message = refusal(tmp_path / 'a.pth')
    assert wanted in message
    assert 'state_dict' in message


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'', 'empty'),
        (b'loss 0.31\nloss 0.30\n', 'damaged'),
        (b'\n<!DOCTYPE html><html><body>404 Not Found</body></html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:12\n', 'git lfs pull'),
        (b'PK\x03\x04cut', 'damaged'),
        (b'{"weight_map": {}}', 'it is JSON'),
        (b'\x1f\x8b\x08\x00', 'gzip'),
    ],
)
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_read_checkpoint__what_is_no_checkpoint(tmp_path, content, told, suffix):
    path = tmp_path / f'a.{suffix}'
    path.write_bytes(content)
    message = refusal(path)
    assert told in message or (suffix == 'safetensors' and told == 'damaged')


@pytest.mark.parametrize('zipped', [True, False])
def test_read_checkpoint__truncated(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:2500])
    assert 'cut short' in refusal(path)


def test_read_checkpoint__cut_where_the_old_format_is_tried(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({f'w{index}': torch.zeros(5000) for index in range(40)}, path)
    path.write_bytes(path.read_bytes()[:50_000])
    assert 'cut short' in refusal(path)


def test_read_checkpoint__changed_bytes(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.zeros(5000)}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert re.search(r'data/0 in it is damaged: copy or download it again', refusal(path))


def test_read_checkpoint__files_under_other_names(tmp_path):
    weights = torch.randn(3, 5)
    torch.save({'w': weights}, tmp_path / 'a.safetensors')
    save_file({'w': weights}, tmp_path / 'b.pth')
    torch.testing.assert_close(read_checkpoint(tmp_path / 'b.pth')['w'], weights, rtol=0, atol=0)
    assert 'it is a PyTorch file: give it the suffix .pth' in refusal(tmp_path / 'a.safetensors')
    with zipfile.ZipFile(tmp_path / 'c.pth', 'w') as archive:
        archive.write(tmp_path / 'b.pth', 'inner.pth')
    assert 'it is a zip archive of inner.pth, not of weights: unpack it' in refusal(tmp_path / 'c.pth')
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / 'd.pth')
    assert 'TorchScript' in refusal(tmp_path / 'd.pth')


def test_read_checkpoint__truncated_safetensors(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file({'w': torch.randn(1000)}, path)
    path.write_bytes(path.read_bytes()[:2500])
    refusal(path)


def test_read_checkpoint__no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*absent\.pth'):
        read_checkpoint(tmp_path / 'absent.pth')


def test_read_checkpoint__folder_address_and_bare_tensor(tmp_path):
    assert 'not a file' in refusal(tmp_path)
    assert 'download' in refusal('https://example.com/mae.pth')
    torch.save(torch.ones(2), tmp_path / 'a.pth')
    assert 'holds a Tensor' in refusal(tmp_path / 'a.pth')
