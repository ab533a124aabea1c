"""Published names: resolved in the local caches; without them and without a network one clear line."""

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from backbones.checkpoint import hub as checkpoint_hub
from backbones.checkpoint.hub import find_published
from backbones.checkpoint.load import load_pretrained
from backbones.checkpoint.read import read_checkpoint
from tests.backbones.checkpoint.test_load import assert_equal, toy, weights


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))


def cached(tmp_path, repository, file, tensors, revision='main'):
    """Put a file in the cache as huggingface_hub lays it out."""
    folder = tmp_path / 'hub' / ('models--' + repository.replace('/', '--'))
    commit = '0123456789' * 4
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / revision).write_text(commit)
    path = folder / 'snapshots' / commit / file
    path.parent.mkdir(parents=True)
    save_file(tensors, path) if file.endswith('.safetensors') else torch.save(tensors, path)
    return path


@pytest.mark.parametrize(
    ('name', 'repository', 'file', 'revision'),
    [
        ('timm/vit_base_patch16_224.mae', 'timm/vit_base_patch16_224.mae', 'model.safetensors', 'main'),
        ('hf:facebook/vit-mae-base', 'facebook/vit-mae-base', 'pytorch_model.bin', 'main'),
        ('hf-hub:a/b@v1.0', 'a/b', 'model.safetensors', 'v1.0'),
        ('hf:a/b:weights/last.safetensors', 'a/b', 'weights/last.safetensors', 'main'),
    ],
)
def test_load_pretrained__name_in_the_cache(tmp_path, name, repository, file, revision):
    state = weights()
    path = cached(tmp_path, repository, file, state, revision)
    assert find_published(name).samefile(path)
    model = toy()
    assert load_pretrained(model, name).source == name
    assert_equal(model, state)


@pytest.mark.parametrize('name', ['timm/vit_base_patch16_224.mae', 'hf:a/b@v2', 'hf:a/b:x.bin'])
def test_read_checkpoint__name_that_cannot_be_fetched(name):
    with pytest.raises(ValueError) as caught:
        read_checkpoint(name)
    message = str(caught.value)
    assert message.startswith(f'{name} cannot be fetched')
    assert 'give its path' in message
    assert '\n' not in message


def test_find_published__unreachable_hub_is_tried_once(monkeypatch):
    asked = []

    def unreachable(repository, file, revision, local_files_only):
        asked.append((file, local_files_only))
        raise LocalEntryNotFoundError('no network')

    monkeypatch.setattr(checkpoint_hub, 'hf_hub_download', unreachable)
    with pytest.raises(ValueError, match='hf:a/b cannot be fetched'):
        find_published('hf:a/b')
    files = ['model.safetensors', 'pytorch_model.bin']
    assert asked == [*((file, True) for file in files), (files[0], False)]


def test_read_checkpoint__address_that_torch_hub_has_downloaded(tmp_path):
    address = 'https://example.com/mae/mae_pretrain_vit_base.pth?download=1'
    with pytest.raises(ValueError, match='is an address'):
        read_checkpoint(address)
    (tmp_path / 'torch/hub/checkpoints').mkdir(parents=True)
    torch.save({'w': torch.arange(3)}, tmp_path / 'torch/hub/checkpoints/mae_pretrain_vit_base.pth')
    assert read_checkpoint(address)['w'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('name', ['a.pth', 'runs/a/b.pth', 'timm', 'hf:', 'hf:a', 'timm/a/b.pth', '/timm/a.pth'])
def test_find_published__ordinary_paths(name):
    assert find_published(name) is None


def test_find_published__local_file_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'timm').mkdir()
    torch.save({'w': torch.arange(3)}, tmp_path / 'timm' / 'a.pth')
    assert read_checkpoint('timm/a.pth')['w'].tolist() == [0, 1, 2]
