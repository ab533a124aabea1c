"""Masks and noise by seed, rank and iteration, whatever hooks a config has."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import MODELS
from mmengine.runner import Runner

from pretrain.methods.mae import MaskedAutoencoder
from tests.helpers import picture_loader
from tests.two_processes import in_two

CONFIGS = sorted((Path(__file__).resolve().parents[3] / 'pretrain' / 'configs').glob('*.py'))
CONFIGS = [path for path in CONFIGS if path.stem != '__init__']
ENCODER = dict(type='PlainViT', variant=dict(embed_dim=24, depth=1, num_heads=3), img_size=(16, 24), patch_size=4,
               out_norm=True)  # fmt: skip
MODEL = dict(type='Watched', encoder=ENCODER, decoder=dict(embed_dim=24, depth=1, num_heads=3))


@MODELS.register_module(force=True)
class Watched(MaskedAutoencoder):
    """Keeps the masks it draws."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.masks = []

    def forward(self, inputs, *args, **kwargs):
        return super().forward(inputs.float(), *args, **kwargs)

    def draw_mask(self, images):
        mask = super().draw_mask(images)
        self.masks.append(mask)
        return mask


def train(work_dir, epochs=2, launcher='none', seed=3, **more):
    """Masks of the steps of a Runner without any hook of ours."""
    runner = Runner(
        MODEL,
        work_dir=str(work_dir),
        train_dataloader=picture_loader(4 // get_world_size()),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        randomness=dict(seed=seed),
        launcher=launcher,
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}_{get_rank()}',
        default_scope='mmengine',
        default_hooks=more.pop('default_hooks', None),
        **more,
    )
    runner.train()
    model = runner.model.module if launcher != 'none' else runner.model
    return torch.stack(model.masks)


def test_masks__differ_between_steps_and_seeds(tmp_path):
    masks, other = train(tmp_path / 'a'), train(tmp_path / 'b', seed=4)
    assert len(masks) == 6
    both = torch.cat([masks, other])
    assert len(both.flatten(1).unique(dim=0)) == 12


def test_masks__a_resumed_run_draws_those_of_the_uninterrupted(tmp_path):
    """Between epochs, and inside one: iterations count, not draws."""
    each = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    whole = train(tmp_path / 'whole', default_hooks=each)
    # The loader starts anew in the middle of an epoch, and gives its three batches again.
    for done in (2, 3):
        rest = train(tmp_path / f'rest{done}', load_from=str(tmp_path / 'whole' / f'iter_{done}.pth'), resume=True)
        assert torch.equal(rest[: 6 - done], whole[done:])


def test_masks__differ_between_processes(tmp_path):
    first, second = in_two(tmp_path, train, tmp_path / 'run', 2, 'pytorch')
    assert len(first) == len(second) == 6
    assert len(torch.cat([first, second]).flatten(1).unique(dim=0)) == 12


def test_masks__of_two_processes_are_those_of_a_resumed_run(tmp_path):
    whole = in_two(tmp_path, train, tmp_path / 'run', 2, 'pytorch')
    rest = in_two(tmp_path, resume_in_group, tmp_path / 'rest', str(tmp_path / 'run' / 'epoch_1.pth'))
    for done, resumed in zip(whole, rest, strict=True):
        assert torch.equal(resumed, done[3:])


def resume_in_group(work_dir, checkpoint):
    return train(work_dir, 2, 'pytorch', load_from=checkpoint, resume=True)


def test_masks__outside_of_a_training_pytorchs_seed_decides(tmp_path):
    train(tmp_path / 'run', 1)
    model = MODELS.build(MODEL)
    images = torch.rand(2, 3, 16, 24)
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model(images, mode='loss')
    same, again, other = model.masks
    assert torch.equal(same, again) and not torch.equal(same, other)


HOOKS = {'SeedEachEpoch', 'StopOnNonFinite', 'WatchLoader', 'PrefetchToDevice', 'DeferredLossLog'}
OF_A_TOKENIZER = {'AnnealTokenizer', 'WatchCodebook', 'EMAHook'}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config__keeps_its_hooks_whatever_is_added(path):
    """The documented way to add a hook replaces the list of custom ones."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(custom_hooks=[dict(type='OnlineProbe')]))
    kept = {hook.type for hook in cfg.default_hooks.values()}
    assert kept >= HOOKS | (OF_A_TOKENIZER if path.stem.startswith('tokenizer') else set())
    assert ('SyncBuffersHook' in kept) == ('val_dataloader' in cfg)
    assert ('KeepHead' in kept) == (path.stem == 'finetune_beit_base_384')
    assert cfg.train_dataloader.worker_init_fn == dict(type='seed_worker')
    assert cfg.train_dataloader.persistent_workers is False
