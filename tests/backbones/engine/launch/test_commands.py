"""Command lines: what is refused, and what is set."""

import json

import pytest
import torch
from mmengine.config import Config

from backbones import PlainViT
from backbones.console.errors import UsageError
from backbones.engine.launch import commands as launch
from backbones.engine.launch.commands import check_data, evaluate_in_bf16, save_versions, set_compile, use_bf16
from backbones.engine.launch.config import read_config
from backbones.engine.launch.weights import set_pretrained
from tests.conftest import ROOT

SEG = ROOT / 'seg_configs/upernet_vit_tiny.py'


def test_read_config__options_and_work_dir():
    cfg = read_config(SEG, {'train_cfg.max_iters': 7, 'train_dataloader.dataset.pipeline.4.prob': 0.25})
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.dataset.pipeline[4].prob) == (7, 0.25)
    assert cfg.work_dir == 'work_dirs/upernet_vit_tiny'
    assert read_config(SEG, {'work_dir': 'a'}).work_dir == 'a'
    assert read_config(SEG, {'work_dir': 'a'}, 'b').work_dir == 'b'


def test_read_config__mistakes(tmp_path):
    with pytest.raises(UsageError, match=r'nowhere.py: there is no such file'):
        read_config('nowhere.py')
    with pytest.raises(UsageError, match=r'nothing reads train_confg; did you mean train_cfg\?'):
        read_config(SEG, {'train_confg.max_iters': 7})
    with pytest.raises(UsageError, match=r'param_scheduler.9.end: param_scheduler has 2 entries, 0 to 1'):
        read_config(SEG, {'param_scheduler.9.end': 7})
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    with pytest.raises(UsageError, match=r'broken.py: SyntaxError'):
        read_config(broken)


def test_set_pretrained__weights_of_a_file(tmp_path):
    vit = PlainViT('tiny', img_size=224, out_norm=True)
    torch.save({'model': vit.state_dict()}, tmp_path / 'vit.pth')
    cfg = read_config(SEG)
    assert str(tmp_path / 'vit.pth') in set_pretrained(cfg, str(tmp_path / 'vit.pth'))
    assert cfg.model.backbone.init_cfg == dict(type='PretrainedViT', checkpoint=str(tmp_path / 'vit.pth'))
    autoencoder = read_config(ROOT / 'pretrain/configs/mae_tiny.py')
    set_pretrained(autoencoder, str(tmp_path / 'vit.pth'))
    assert autoencoder.model.encoder.init_cfg.checkpoint == str(tmp_path / 'vit.pth')


def test_set_pretrained__never_silently_random():
    cfg = read_config(ROOT / 'seg_configs/upernet_vit_base.py')
    with pytest.raises(UsageError, match=r'checkpoints/mae_pretrain_vit_base.pth: there is no such file.*--pretrained'):
        set_pretrained(cfg, None)
    assert set_pretrained(cfg, 'random') == 'backbone starts from: random weights'
    assert cfg.model.backbone.init_cfg is None
    assert set_pretrained(read_config(SEG), None) == 'backbone starts from: random weights'


def test_set_pretrained__weights_that_do_not_fit(tmp_path):
    torch.save({'model': PlainViT('tiny', in_channels=4).state_dict()}, tmp_path / 'vit.pth')
    with pytest.raises(UsageError, match='does not fit the model'):
        set_pretrained(read_config(SEG), str(tmp_path / 'vit.pth'))


def test_check_data__names_the_missing_path(tmp_path):
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root=str(tmp_path), data_prefix=dict(img='a')))))
    with pytest.raises(UsageError, match=r'train data .*a: there is no such .* --data-root'):
        check_data(cfg)
    (tmp_path / 'a').mkdir()
    check_data(cfg)
    cfg.train_dataloader.dataset = dict(data_root=[str(tmp_path), str(tmp_path / 'b')])
    with pytest.raises(UsageError, match=r'b: there is no such'):
        check_data(cfg)


def test_bf16__is_refused_on_macs(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'mps')
    cfg = read_config(SEG)
    for ask in (use_bf16, lambda cfg: evaluate_in_bf16(cfg, 'val')):
        with pytest.raises(UsageError, match='computes on mps: leave --amp out'):
            ask(cfg)
    assert cfg.optim_wrapper.type == 'OptimWrapper' and cfg.val_cfg.get('type', 'ValLoop') == 'ValLoop'


def test_use_bf16__plain_wrapper_only():
    cfg = read_config(SEG)
    use_bf16(cfg)
    assert cfg.optim_wrapper.type == 'BF16OptimWrapper'
    assert cfg.optim_wrapper.constructor == 'LayerWiseDecay'
    with pytest.raises(UsageError, match='this config has ApexOptimWrapper'):
        use_bf16(read_config(SEG, {'optim_wrapper.type': 'ApexOptimWrapper'}))


def test_check_data__addresses_are_left_to_the_data_set():
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root='https://example.org/shards'))))
    check_data(cfg, ('train',))
    cfg.train_dataloader.dataset.data_root = 'no/shards'
    with pytest.raises(UsageError, match='train data no/shards: there is no such'):
        check_data(cfg, ('train',))


@pytest.mark.parametrize(
    ('path', 'parts'),
    [(SEG, ['backbone', 'neck']), (SEG.parents[1] / 'pretrain' / 'configs' / 'mae_tiny.py', ['losses'])],
)
def test_set_compile__what_takes_the_time(path, parts):
    cfg = read_config(path)
    before = list(cfg.get('custom_hooks', []))
    assert set_compile(cfg) == f'compiled before training: {", ".join(parts)}'
    assert cfg.custom_hooks == [*before, dict(type='CompileParts', parts=parts)]


def test_set_compile__nothing_to_compile():
    cfg = read_config(SEG)
    cfg.model = dict(type='DiscreteVAE')
    with pytest.raises(UsageError, match='not DiscreteVAE'):
        set_compile(cfg)


def test_save_versions__what_is_installed(tmp_path):
    written = json.loads(save_versions(tmp_path / 'new').read_text())
    assert written['torch'].split('+')[0] == torch.__version__.split('+')[0]
    assert {'python', 'torchvision', 'mmengine', 'mmdet', 'mmsegmentation'} <= written.keys()
