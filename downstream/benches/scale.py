"""Cost per image by size of image and model: time and memory of the backbone, and of a step of MAE."""

from collections.abc import Iterator
from functools import partial

import torch

from backbones.pyramid import SimpleFeaturePyramid
from backbones.vit.variants import VARIANTS
from downstream.benches.detect import Case, build_ours
from downstream.benches.measure import alternate, peak_mib, summary
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.targets import Views

SIDES = (256, 512, 768, 1024)
DETECTORS = ('tiny', 'small', 'base')
PRETRAINED = ('tiny', 'small', 'base', 'large')
BATCH = 4
# Time for each cell; large models make two rounds even if they take longer.
SECONDS = 3.0


def detector_row(variant: str, side: int) -> str:
    """Seconds and MiB of ViTDet's backbone and pyramid on one image, forward and with backward."""
    case = Case(variant, side)
    model = torch.nn.Sequential(build_ours(case), SimpleFeaturePyramid(case.sizes['embed_dim']))
    images = torch.randn(1, 3, side, side)

    def train() -> None:
        torch.stack([each.square().mean() for each in model(images)]).sum().backward()

    cells = []
    for run in (torch.no_grad()(partial(model, images)), train):
        memory = peak_mib(run)
        cells += [f'{summary(alternate({"ours": run}, SECONDS)["ours"])["median_s"]:.2f}', f'{memory:.0f}']
    return f'| ViT-{variant} | {side} x {side} | {" | ".join(cells)} |'


def pretraining_row(variant: str) -> str:
    """Seconds and MiB per image of MAE's forward and backward, for images of 224 pixels."""
    model = MaskedAutoencoder(dict(type='PlainViT', variant=variant, out_norm=True))
    views = Views(torch.randn(BATCH, 3, 224, 224), model.encoder.patch_size)

    def train() -> None:
        model.losses(views)['loss'].backward()

    memory = peak_mib(train)
    seconds = summary(alternate({'ours': train}, SECONDS)['ours'])['median_s'] / BATCH
    return f'| ViT-{variant} | {VARIANTS[variant]["embed_dim"]} | {seconds:.3f} | {memory / BATCH:.0f} |'


def scale_lines() -> Iterator[str]:
    """Lines of two Markdown tables."""
    yield f'float32, {torch.get_num_threads()} threads, torch {torch.__version__}'
    yield '| backbone + SFP | image | forward, s | MiB | with backward, s | MiB |\n|---|---|---|---|---|---|'
    for variant in DETECTORS:
        for side in SIDES:
            yield detector_row(variant, side)
    yield '\n| MAE step, 224 px | width | s per image | MiB per image |\n|---|---|---|---|'
    for variant in PRETRAINED:
        yield pretraining_row(variant)
