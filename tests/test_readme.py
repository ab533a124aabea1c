"""README's Python runs as it stands."""

import re

import torch

from backbones.vit import PlainViT
from tests.conftest import ROOT


def test_readme__plain_pytorch(tmp_path, monkeypatch):
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)
    code = next(block for block in blocks if 'from_pretrained' in block)
    # A small model under the name of the published one: its sizes are the file's.
    torch.save({'model': PlainViT('tiny').state_dict()}, tmp_path / 'mae_pretrain_vit_base.pth')
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code, found)
    assert [each.shape for each in found['maps']] == [(1, 192, 32, 24)] * 4
    rates = [group['lr'] for group in found['optimizer'].param_groups]
    assert max(rates) <= 1e-4 * 0.7 and min(rates) == 1e-4 * 0.7**13
