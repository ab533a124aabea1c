"""The data path of pretraining against torchvision with Pillow: JPEG files on disk to uint8 tensors, on one core."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backbones.data.images.read import read_bytes
from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, ratio, summary
from pretrain.data.images import find_images, jpeg_size
from pretrain.data.views import ViewMaker

SIDE = 224
SCALE = (0.2, 1.0)
# Sizes (H, W) of the images drawn if there are no real ones: around 450 pixels, as in ImageNet.
DRAWN = ((375, 500), (500, 375), (450, 600), (400, 400)) * 4
# Real images are used if their shorter and longer side lie in these bounds.
NEAR = (330, 640)
MOST_FILES = 32
TOLERANCE = 1.0

CLAIM = Claim('decode + crop + flip, ~450 px JPEG, one core', 'torchvision PIL pipeline', 'cpu', '>= 2.5 x images/s')


def draw_photo(size: tuple[int, int], seed: int) -> np.ndarray:
    """Draw noise whose strength falls with its frequency, and hard discs: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    height, width = size
    pixels = np.full((height, width, 3), 128, np.float32)
    for cells, strength in ((4, 50), (16, 30), (64, 15), (200, 8)):
        coarse = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(pixels, centre, int(rng.integers(15, 90)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def real_files() -> list[str]:
    """List JPEGs of about 450 pixels under DENSE_MAE_DATA; none if it is not set."""
    root = os.environ.get('DENSE_MAE_DATA')
    if root is None:
        return []
    sizes = {path: jpeg_size(read_bytes(path), path) for path in find_images(root)}
    near = [path for path, size in sizes.items() if size and NEAR[0] <= min(size) and max(size) <= NEAR[1]]
    return near[:: -(-len(near) // MOST_FILES)] if near else []


def write_drawn(folder: Path) -> list[str]:
    """Draw images and write them as JPEGs of quality 90."""
    files = [str(folder / f'{index}.jpg') for index in range(len(DRAWN))]
    for index, (file, size) in enumerate(zip(files, DRAWN, strict=True)):
        Image.fromarray(draw_photo(size, index)).save(file, quality=90)
    return files


@contextmanager
def one_core() -> Iterator[None]:
    """Let PyTorch and OpenCV use one thread each inside the block, as in a worker of a loader."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def run_ours(files: Sequence[str], maker: ViewMaker) -> None:
    """Do what `pretrain.data.unlabelled.UnlabelledImages` does per image."""
    for file in files:
        maker.from_file(file)


def run_peer(files: Sequence[str]) -> None:
    """Do what the usual pretraining script does per image."""
    from torchvision import transforms

    pipeline = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, SCALE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    for file in files:
        with Image.open(file) as image:
            pipeline(image.convert('RGB'))


def peer_view(file: str, maker: ViewMaker, seed: int) -> Tensor:
    """Make the crop that our code draws with a seed, but with the peer's functions: uint8 (3, SIDE, SIDE)."""
    from torchvision.transforms import InterpolationMode, functional

    with Image.open(file) as image:
        pixels = image.convert('RGB')
    choice = maker.draw((pixels.height, pixels.width), torch.Generator().manual_seed(seed))
    view = functional.resized_crop(pixels, *choice.box, [SIDE, SIDE], InterpolationMode.BICUBIC)
    return functional.pil_to_tensor(functional.hflip(view) if choice.mirrored else view)


def differences(files: Sequence[str], maker: ViewMaker) -> list[float]:
    """Mean difference out of 255 between both ways, per image, for the same crop.

    Raises:
        RuntimeError: the mean over the images is above `TOLERANCE`, so the times do not compare.
    """
    found = []
    for seed, file in enumerate(files):
        ours = maker.from_file(file, torch.Generator().manual_seed(seed))['inputs']
        found.append(float((ours.float() - peer_view(file, maker, seed).float()).abs().mean()))
    if not np.mean(found) <= TOLERANCE:
        raise RuntimeError(f'mean difference {np.mean(found):.2f} > {TOLERANCE} of 255 for the same crops: not timed')
    return found


def compare(files: Sequence[str], seconds: float) -> Finding:
    """Check that both give the same result for the files, then time them."""
    maker = ViewMaker((SIDE, SIDE), crop_scale=SCALE)
    found = differences(files, maker)
    runs = {'ours': partial(run_ours, files, maker), 'peer': partial(run_peer, files)}
    for run in runs.values():
        run()
    taken = alternate(runs, seconds)
    return 1 / ratio(taken), {
        'images': len(files),
        'mean_difference': round(float(np.mean(found)), 3),
        'largest_difference': round(max(found), 3),
        **{name: summary(each) for name, each in taken.items()},
    }


def measure_loading(seconds: float) -> list[Finding]:
    """Our images per second over the peer's, on real images if DENSE_MAE_DATA names some."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        real = real_files()
        measured, detail = compare(real or write_drawn(Path(folder)), seconds)
    return [(measured, {**detail, 'source': 'real' if real else 'drawn'})]


BENCHES = (Bench((CLAIM,), measure_loading, share=0.3, needs=('torchvision',)),)
