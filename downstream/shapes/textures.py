"""Textures: pure functions from pixel coordinates to a pattern in 0..1 that mixes two colours.

Letters: h, w height and width of the canvas in pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator

Texture = Callable[[ndarray, ndarray, float, Generator], ndarray]


def soft_step(values: ndarray, sharpness: float = 4.0) -> ndarray:
    """Turn a wave in -1..1 into a pattern in 0..1 with soft edges, which avoid aliasing."""
    return np.clip(0.5 + 0.5 * sharpness * values, 0, 1)


def smooth_noise(shape: tuple[int, int], cells: tuple[int, int], rng: Generator) -> ndarray:
    """Random values (h, w) in 0..1, interpolated from ``cells`` (rows, columns) of random values."""
    coarse = rng.random((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    return np.clip(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), 0, 1)


def stripes(x: ndarray, y: ndarray, period: float, rng: Generator) -> ndarray:
    """Bars across the object."""
    return soft_step(np.sin(2 * np.pi * x / period + rng.uniform(0, 6)))


def dots(x: ndarray, y: ndarray, period: float, rng: Generator) -> ndarray:
    """Round dots on a square lattice."""
    return soft_step(np.cos(2 * np.pi * x / period) + np.cos(2 * np.pi * y / period) - 0.4, 2)


def rings(x: ndarray, y: ndarray, period: float, rng: Generator) -> ndarray:
    """Circles around the centre."""
    return soft_step(np.sin(2 * np.pi * np.hypot(x, y) / period + rng.uniform(0, 6)))


def plaid(x: ndarray, y: ndarray, period: float, rng: Generator) -> ndarray:
    """Thin lines in both directions."""
    lines = np.maximum(np.cos(2 * np.pi * x / period), np.cos(2 * np.pi * y / period))
    return soft_step(lines - 0.75, 4)


def sky(shape: tuple[int, int], rng: Generator) -> ndarray:
    """A vertical gradient with clouds."""
    gradient = np.linspace(0, 0.6, shape[0], dtype=np.float32)[:, None]
    return np.clip(gradient + 0.5 * smooth_noise(shape, (4, 3), rng), 0, 1)


def wall(shape: tuple[int, int], rng: Generator) -> ndarray:
    """Courses of bricks, every second one shifted by half a brick."""
    height = shape[0] * rng.uniform(0.06, 0.1)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    course = np.floor(y / height)
    along = np.mod(x / (2.2 * height) + 0.5 * np.mod(course, 2), 1)
    mortar = np.minimum(along * 2.2, np.mod(y / height, 1)) < 0.18
    return np.where(mortar, 0.95, 0.45 * smooth_noise(shape, (9, 9), rng)).astype(np.float32)


def grass(shape: tuple[int, int], rng: Generator) -> ndarray:
    """Fine upright blades."""
    return soft_step(smooth_noise(shape, (shape[0] // 8, shape[1] // 2), rng) - 0.5, 2.5)


def water(shape: tuple[int, int], rng: Generator) -> ndarray:
    """Waves that lie across the image."""
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    bend = smooth_noise(shape, (3, 5), rng) * 14
    period = shape[0] * rng.uniform(0.05, 0.08)
    return soft_step(np.sin(2 * np.pi * y / period + bend), 1)


def sand(shape: tuple[int, int], rng: Generator) -> ndarray:
    """Dunes with fine grain."""
    grain = smooth_noise(shape, (shape[0] // 2, shape[1] // 2), rng)
    return 0.6 * smooth_noise(shape, (3, 2), rng) + 0.4 * grain
