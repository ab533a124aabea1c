"""MAE's training step against transformers' ViTMAE."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from backbones.vit.variants import VARIANTS
from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, check_equal, count_flops, matmul_rate, summary
from downstream.benches.peers import mae_tensors
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.targets import Views
from pretrain.optimization.pretrain import decay_groups

RECIPE = dict(lr=1e-6, betas=(0.9, 0.95), weight_decay=0.05)
DECODER = dict(embed_dim=512, depth=8, num_heads=16)
PRECISION = {torch.float32: 'float32', torch.bfloat16: 'bfloat16'}
PEER = 'transformers ViTMAE'


@dataclass(frozen=True)
class Case:
    """What is trained, and how.

    Attributes:
        variant: key of `VARIANTS`, or sizes.
        batch: images B.
        img_size: side in pixels.
        device: 'cpu' or 'cuda'.
        ours: data type of our matrix products.
        peers: data type of the peer's matrix products.
        compiled: whether our step is compiled.
    """

    variant: str | dict[str, int] = 'base'
    batch: int = 16
    img_size: int = 224
    device: str = 'cpu'
    ours: torch.dtype = torch.float32
    peers: torch.dtype = torch.float32
    compiled: bool = False


def build_peer(case: Case) -> nn.Module:
    """Build transformers' model of a case, with the same positions as ours."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = VARIANTS[case.variant] if isinstance(case.variant, str) else case.variant
    config = ViTMAEConfig(
        hidden_size=sizes['embed_dim'],
        num_hidden_layers=sizes['depth'],
        num_attention_heads=sizes['num_heads'],
        intermediate_size=4 * sizes['embed_dim'],
        decoder_hidden_size=DECODER['embed_dim'],
        decoder_num_hidden_layers=DECODER['depth'],
        decoder_num_attention_heads=DECODER['num_heads'],
        decoder_intermediate_size=4 * DECODER['embed_dim'],
        image_size=case.img_size,
        layer_norm_eps=1e-6,
        norm_pix_loss=True,
        attn_implementation='sdpa',
    )
    return ViTMAEForPreTraining(config).to(case.device).train()


def build_ours(case: Case, peer: nn.Module) -> MaskedAutoencoder:
    """Build our model with the peer's weights."""
    encoder = dict(type='PlainViT', variant=case.variant, img_size=case.img_size, out_norm=True)
    ours = MaskedAutoencoder(encoder, decoder=DECODER)
    ours.load_state_dict(mae_tensors(peer.state_dict()))
    return ours.to(case.device).train()


def autocast(device: str, dtype: torch.dtype) -> AbstractContextManager:
    """Run matrix products in the given data type."""
    return torch.autocast(device, torch.bfloat16, enabled=dtype is torch.bfloat16)


def gradients(model: nn.Module, loss: Tensor) -> Tensor:
    """Gradients of the patch projection's bias, which pass through every layer of both networks."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    (bias,) = (
        p.grad
        for name, p in model.named_parameters()
        if name.endswith(('patch_embed.proj.bias', 'patch_embeddings.projection.bias'))
    )
    assert bias is not None
    return bias


def check(case: Case, ours: MaskedAutoencoder, peer: nn.Module, images: Tensor) -> dict:
    """Compare losses and gradients for the same masks before anything is timed."""
    tolerance = 1e-4 if case.ours is case.peers is torch.float32 else 5e-2
    with autocast(case.device, case.peers):
        expected = peer(images, noise=torch.rand(len(images), ours.encoder.pos_grid[0] ** 2, device=case.device))
    with autocast(case.device, case.ours):
        loss = ours.losses_for_mask(Views(images, ours.encoder.patch_size), expected.mask.bool())['loss']
    slopes = gradients(ours, loss), gradients(peer, expected.loss)
    return {
        'loss_difference': check_equal(loss.detach(), expected.loss.detach(), tolerance, 'loss'),
        'gradient_difference': check_equal(*slopes, tolerance, 'gradient'),
    }


def train_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, context: AbstractContextManager) -> None:
    """Forward, backward, update."""
    with context:
        value = loss()
    value.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def model_flops(case: Case, ours: MaskedAutoencoder, images: Tensor) -> int:
    """FLOPs of forward and backward, where attention counts as the matrix products it consists of."""
    with sdpa_kernel(SDPBackend.MATH):
        return count_flops(lambda: ours.losses(Views(images, ours.encoder.patch_size))['loss'].backward())


def run(case: Case, seconds: float) -> Sequence[Finding]:
    """Measure the step: our images/s over the peer's, then the share of the matmul rate that our step reaches."""
    images = torch.randn(case.batch, 3, case.img_size, case.img_size, device=case.device)
    peer = build_peer(case)
    ours = build_ours(case, peer)
    detail = check(case, ours, peer, images)
    flops = model_flops(case, ours, images)
    losses = torch.compile(ours.losses, dynamic=False) if case.compiled else ours.losses
    optimizers = (
        torch.optim.AdamW(decay_groups(ours), **RECIPE, fused=True),
        torch.optim.AdamW(decay_groups(peer), **RECIPE),
    )
    views = Views(images, ours.encoder.patch_size)
    runs = {
        'ours': lambda: train_step(lambda: losses(views)['loss'], optimizers[0], autocast(case.device, case.ours)),
        'peer': lambda: train_step(lambda: peer(images).loss, optimizers[1], autocast(case.device, case.peers)),
    }
    for warm_up in runs.values():
        warm_up()
    taken = alternate(runs, seconds, case.device)
    rate = matmul_rate(case.device, case.ours)
    times = {name: summary(values) for name, values in taken.items()}
    share = flops / times['ours']['median_s'] / rate
    detail |= {
        **times,
        'batch': case.batch,
        'precision': {'ours': PRECISION[case.ours], 'peer': PRECISION[case.peers]},
        'images_per_s': {name: round(case.batch / entry['median_s'], 3) for name, entry in times.items()},
        'model_gflop_per_image': round(flops / case.batch / 1e9, 1),
        'matmul_gflop_per_s': round(rate / 1e9, 1),
        'share_of_matmul_rate': {'ours': round(share, 3)},
    }
    ratio = times['peer']['median_s'] / times['ours']['median_s']
    return [(ratio, detail), (share, detail)]


def first_of(measure: Callable[[float], Sequence[Finding]], seconds: float) -> Sequence[Finding]:
    """Return only the first finding, for benches of one claim."""
    return measure(seconds)[:1]


def gpu_bench(variant: str, batch: int, share: float) -> Bench:
    """Bench of the step of one size on a GPU, compiled and in bfloat16, against the peer in its usual setup."""
    work = f'MAE ViT-{variant[0].upper()} step'
    case = Case(variant, batch, device='cuda', ours=torch.bfloat16, peers=torch.bfloat16, compiled=True)
    claims = (
        Claim(work, f'{PEER}, bf16 autocast', 'cuda', '>= 1.60 x images/s'),
        Claim(f'{work}: share of the matmul rate', 'measured bf16 matmul', 'cuda', f'>= {share:.2f} of the rate'),
    )
    return Bench(claims, partial(run, case), needs=('transformers',))


CPU = Case()
BENCHES = (
    Bench(
        (Claim('MAE ViT-B/16 step, float32', PEER, 'cpu', '>= 1.05 x images/s'),),
        partial(first_of, partial(run, CPU)),
        needs=('transformers',),
    ),
    Bench(
        (Claim('MAE ViT-B/16 step, bfloat16 autocast', f'{PEER}, float32', 'cpu', '>= 1.60 x images/s'),),
        partial(first_of, partial(run, replace(CPU, ours=torch.bfloat16))),
        needs=('transformers',),
    ),
    gpu_bench('base', 256, 0.5),
    gpu_bench('large', 128, 0.6),
)
