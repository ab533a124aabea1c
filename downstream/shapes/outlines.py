"""Outlines: the classes of things, each with its own outline and texture.

An outline is a list of polygons (N, 2) inside the unit circle; polygons inside others are holes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from downstream.shapes import textures


class Thing(NamedTuple):
    """A class of things: its outline and its texture."""

    outline: Callable[[], list[ndarray]]
    texture: textures.Texture


def polar(angles: ndarray, radii: ndarray) -> ndarray:
    """Polygon (N, 2) from N angles in turns and N radii."""
    return np.stack([radii * np.cos(2 * np.pi * angles), radii * np.sin(2 * np.pi * angles)], axis=1)


def circle(radius: float = 1.0) -> ndarray:
    """A circle as a polygon."""
    return polar(np.arange(32) / 32, np.full(32, radius))


def triangle() -> ndarray:
    """A regular triangle."""
    return polar(np.arange(3) / 3, np.ones(3))


def cross() -> ndarray:
    """A cross with four equal arms."""
    a, b = 0.33, 0.94
    return np.array(
        [(a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a), (-a, -b), (a, -b), (a, -a), (b, -a), (b, a)]
    )


THINGS: dict[str, Thing] = {
    'ball': Thing(lambda: [circle()], textures.dots),
    'tent': Thing(lambda: [triangle()], textures.stripes),
    'ring': Thing(lambda: [circle(), circle(0.45)], textures.rings),
    'cross': Thing(lambda: [cross()], textures.plaid),
}
