"""ViTDet's backbone and pyramid against transformers' VitDet with the same pyramid."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from backbones.pyramid import SimpleFeaturePyramid
from backbones.vit import PlainViT
from backbones.vit.variants import VARIANTS
from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, check_equal, count_flops, matmul_rate, peak_mib, ratio, summary
from downstream.benches.peers import vitdet_tensors

WINDOW = 14
PEER = 'transformers VitDet + same SFP'


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        variant: key of `VARIANTS`, or sizes; the last block of each quarter attends globally.
        side: side of the image in pixels.
        device: 'cpu' or 'cuda'.
        bf16: whether both run under bfloat16 autocast.
    """

    variant: str | dict[str, int] = 'base'
    side: int = 1024
    device: str = 'cpu'
    bf16: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """embed_dim, depth, num_heads."""
        return VARIANTS[self.variant] if isinstance(self.variant, str) else self.variant

    @property
    def global_blocks(self) -> tuple[int, ...]:
        """Blocks without windows."""
        quarter = self.sizes['depth'] // 4
        return tuple(quarter * (index + 1) - 1 for index in range(4))


def build_peer(case: Case) -> nn.Module:
    """Build transformers' backbone with random relative positions, because its initial zeros would hide errors."""
    from transformers import VitDetBackbone, VitDetConfig

    depth = case.sizes['depth']
    config = VitDetConfig(
        hidden_size=case.sizes['embed_dim'],
        num_hidden_layers=depth,
        num_attention_heads=case.sizes['num_heads'],
        image_size=case.side,
        pretrain_image_size=224,
        window_block_indices=[index for index in range(depth) if index not in case.global_blocks],
        residual_block_indices=[],
        window_size=WINDOW,
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        out_indices=[depth],
    )
    peer = VitDetBackbone(config)
    for name, parameter in peer.named_parameters():
        if 'rel_pos' in name:
            nn.init.normal_(parameter, std=0.1)
    return peer.to(case.device)


def build_ours(case: Case, **positions: object) -> PlainViT:
    """Build our backbone, with ViTDet's positions unless others are given."""
    windows = dict(window_size=WINDOW, global_blocks=case.global_blocks)
    settings = dict(rel_pos='decomposed', img_size=case.side, pretrain_img_size=224) | windows | positions
    model = PlainViT.from_options(variant=case.variant, **settings)
    return model.to(case.device)


def build_pyramid(case: Case) -> SimpleFeaturePyramid:
    """Build the pyramid that both share."""
    return SimpleFeaturePyramid(case.sizes['embed_dim']).to(case.device)


class Runs:
    """The networks of a case, and the steps that are run on them.

    Args:
        case: sizes and device.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.images = torch.randn(1, 3, case.side, case.side, device=case.device)
        self.pyramid = build_pyramid(case)
        peer, ours = build_peer(case), build_ours(case)
        ours.load_state_dict(vitdet_tensors(peer.state_dict()))
        windows = build_ours(case, rel_pos='decomposed_global', window_abs_pos=True)
        self.maps: dict[str, Callable[[], Tensor]] = {
            'ours': lambda: ours(self.images)[0],
            'absolute windows': lambda: windows(self.images)[0],
            'peer': lambda: peer(self.images).feature_maps[0],
        }

    def autocast(self) -> AbstractContextManager:
        """The precision of the case."""
        return torch.autocast(self.case.device, torch.bfloat16, enabled=self.case.bf16)

    @torch.no_grad()
    def forward(self, name: str) -> list[Tensor]:
        """Compute the maps of the pyramid, without keeping anything for backward."""
        with self.autocast():
            return list(self.pyramid([self.maps[name]()]))

    def train(self, name: str) -> None:
        """Run forward, and backward of the mean square of all maps."""
        with self.autocast():
            maps = self.pyramid([self.maps[name]()])
        torch.stack([each.float().square().mean() for each in maps]).sum().backward()

    def check(self) -> dict:
        """Compare our maps with the peer's before anything is timed, and count FLOPs at the same time.

        The FLOPs of the peer are counted, because its attention is written as matrix products. The mathematics of both
        is the same.
        """
        tolerance = 5e-2 if self.case.bf16 else 1e-4
        expected: list[Tensor] = []
        flops = count_flops(lambda: expected.extend(self.forward('peer')))
        pairs = zip(self.forward('ours'), expected, strict=True)
        difference = max(check_equal(a, e, tolerance, 'maps of the pyramid') for a, e in pairs)
        return {'difference': difference, 'model_gflop_forward': round(flops / 1e9, 1)}


def compare(case: Case, names: Sequence[str], step: str, seconds: float) -> tuple[dict, dict, dict]:
    """Run ``step`` of `Runs` for each name: wall seconds, peak memory in MiB (this call warms up), and the detail."""
    runs = Runs(case)
    detail = runs.check()
    calls = {name: partial(getattr(runs, step), name) for name in names}
    memory = {name: peak_mib(call, case.device) for name, call in calls.items()}
    taken = alternate(calls, seconds, case.device)
    detail |= {name: summary(values) | {'peak_mib': round(memory[name])} for name, values in taken.items()}
    rate = matmul_rate(case.device, torch.bfloat16 if case.bf16 else torch.float32) / 1e9
    # Backward takes two products for each product of forward.
    work = detail['model_gflop_forward'] * (1 if step == 'forward' else 3)
    detail['matmul_gflop_per_s'] = round(rate, 1)
    detail['share_of_matmul_rate'] = {name: round(work / detail[name]['median_s'] / rate, 3) for name in names}
    return taken, memory, detail | {'image': [case.side, case.side], 'batch': 1}


def run_forward(case: Case, seconds: float) -> Sequence[Finding]:
    """Time and memory of the forward pass."""
    taken, memory, detail = compare(case, ('ours', 'peer'), 'forward', seconds)
    return [(ratio(taken), detail), (memory['ours'] / memory['peer'], detail)]


def run_train(case: Case, seconds: float) -> Sequence[Finding]:
    """Time and memory of forward and backward, and the time of a different model, which has absolute windows."""
    taken, memory, detail = compare(case, ('ours', 'absolute windows', 'peer'), 'train', seconds)
    return [
        (ratio(taken), detail),
        (memory['ours'] / memory['peer'], detail),
        (ratio(taken, 'absolute windows'), detail),
    ]


def run_step(case: Case, seconds: float) -> Sequence[Finding]:
    """Images/s and memory of forward and backward."""
    taken, memory, detail = compare(case, ('ours', 'peer'), 'train', seconds)
    return [(1 / ratio(taken), detail), (memory['ours'] / memory['peer'], detail)]


WORK = 'ViTDet-B backbone + SFP, 1024 px'
BENCHES = (
    Bench(
        (
            Claim(f'{WORK}, forward', PEER, 'cpu', '<= 0.70 x time'),
            Claim(f'{WORK}, forward', PEER, 'cpu', '<= 0.30 x memory'),
        ),
        partial(run_forward, Case()),
        needs=('transformers',),
    ),
    Bench(
        (
            Claim(f'{WORK}, forward + backward', PEER, 'cpu', '<= 0.97 x time'),
            Claim(f'{WORK}, forward + backward', PEER, 'cpu', '<= 0.60 x memory'),
            Claim(f'{WORK}, absolute windows, forward + backward', PEER, 'cpu', '<= 0.75 x time'),
        ),
        partial(run_train, Case()),
        share=2.5,
        needs=('transformers',),
    ),
    Bench(
        (
            Claim(f'{WORK}, training step', f'{PEER}, bf16 autocast', 'cuda', '>= 1.60 x images/s'),
            Claim(f'{WORK}, training step', f'{PEER}, bf16 autocast', 'cuda', '<= 0.50 x memory'),
        ),
        partial(run_step, Case(device='cuda', bf16=True)),
        needs=('transformers',),
    ),
)
