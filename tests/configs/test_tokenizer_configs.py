"""The shipped configs of the image tokenizer."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS

from downstream.cli.train import main
from pretrain.tokenizer.dvae import load_tokenizer
from tests.conftest import ROOT
from tests.pretrain.data.test_unlabelled import write_images

CONFIGS = ROOT / 'pretrain' / 'configs'


def test_base__recipe_is_the_papers():
    cfg = Config.fromfile(CONFIGS / 'tokenizer_base.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    tokenizer = model.tokenizer
    # OpenAI's encoder and decoder have 53.8 and 43.8 million parameters.
    sizes = [sum(p.numel() for p in half.parameters()) for half in (tokenizer.encoder, tokenizer.decoder)]
    assert [round(size / 1e6, 1) for size in sizes] == [53.8, 43.8]
    assert (tokenizer.vocab_size, tokenizer.stride) == (8192, 8)
    group = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups[0]
    assert (group['lr'], group['betas'], group['weight_decay']) == (1e-4, (0.9, 0.999), 1e-4)
    # 512 images an iteration on 64 GPUs, 1.28 million images: 3,000,000 iterations, 1,200,000 of falling lr.
    epoch = 1_281_167 / (64 * cfg.train_dataloader.batch_size)
    assert cfg.train_cfg.max_epochs * epoch == pytest.approx(3e6, rel=2e-3)
    assert cfg.param_scheduler[0].end * epoch == pytest.approx(1.2e6, rel=2e-3)
    assert cfg.param_scheduler[0].eta_min == 1.25e-6
    hooks = {entry.type: HOOKS.build(entry) for entry in cfg.default_hooks.values()}
    assert hooks['AnnealTokenizer'].temperature == (1, 1 / 16, 150_000)
    assert hooks['AnnealTokenizer'].kl_weight == (0, 6.6, 5_000)
    assert hooks['EMAHook'].ema_cfg['momentum'] == pytest.approx(1 - 0.999)


def test_tiny__trains_to_a_tokenizer_that_loads(tmp_path):
    write_images(tmp_path / 'images', 6, size=(72, 80))
    command = [str(CONFIGS / 'tokenizer_tiny.py'), '--data-root', str(tmp_path / 'images'), '--work-dir']
    command += [str(tmp_path / 'run'), '--cfg-options', 'train_dataloader.batch_size=3', 'train_cfg.max_epochs=1']
    main(
        [*command, 'model.tokenizer.hidden=8', 'default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1']
    )
    content = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)
    tokenizer = load_tokenizer(tmp_path / 'run' / 'epoch_1.pth')
    assert (tokenizer.vocab_size, tokenizer.stride) == (512, 8)
    name = 'blocks.output.conv.b'
    averaged, last = content['state_dict'], content['ema_state_dict']
    assert torch.equal(tokenizer.encoder.state_dict()[name], averaged[f'tokenizer.encoder.{name}'])
    # mmengine swaps them: what is loaded is the average.
    assert not torch.equal(averaged[f'tokenizer.encoder.{name}'], last[f'module.tokenizer.encoder.{name}'])
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    for shown in ('perplexity: ', 'codes_used: ', 'reconstruction: ', 'temperature: ', 'kl_weight: 6.6'):
        assert shown in log
