"""Scenes: a background with a horizon, things in front of each other, and light over everything.

Letters: h, w height and width of the image in pixels; s side of a thing's own canvas.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray
from numpy.random import Generator

from downstream.shapes import textures
from downstream.shapes.outlines import THINGS

ABOVE: dict[str, Callable] = {'sky': textures.sky, 'wall': textures.wall}
BELOW: dict[str, Callable] = {'grass': textures.grass, 'water': textures.water, 'sand': textures.sand}
HUES = {'sky': 210.0, 'wall': 20.0, 'grass': 95.0, 'water': 190.0, 'sand': 45.0}
THING_NAMES = tuple(THINGS)
# Segmentation counts things first, then the kinds of background.
ALL_NAMES = (*THING_NAMES, *ABOVE, *BELOW)
MOST_HIDDEN = 0.5  # at least this share of a thing's area stays visible
SUPERSAMPLING = 4


@dataclass
class Scene:
    """An image with its labels.

    Attributes:
        image: BGR (h, w, 3), float32 0..255 while it is being drawn, uint8 when finished.
        kinds: uint8 (h, w), index into `ALL_NAMES` per pixel.
        owners: int (h, w), index into ``things`` per pixel, -1 for background.
        things: class index and full area in pixels of each thing, from back to front.
    """

    image: ndarray
    kinds: ndarray
    owners: ndarray
    things: list[tuple[int, int]] = field(default_factory=list)


class Sprite(NamedTuple):
    """A thing before it is placed: class index, colours (s, s, 3), cover 0..1 (s, s)."""

    kind: int
    colours: ndarray
    cover: ndarray


def draw_scene(size: int, rng: Generator) -> Scene:
    """Draw a scene of ``size`` x ``size`` pixels; the generator decides everything."""
    scene = draw_background(size, rng)
    for _ in range(rng.integers(2, 5)):
        radius = size * np.exp(rng.uniform(np.log(0.15), np.log(0.32)))
        sprite = draw_thing(int(rng.integers(len(THING_NAMES))), radius, rng)
        place(scene, sprite, rng)
    light(scene, rng)
    return scene


def random_colour(rng: Generator, hue: float, value: float) -> ndarray:
    """BGR colour (3,) of a hue in degrees and a brightness 0..1, with a random saturation."""
    hsv = np.array([[[hue % 360, rng.uniform(0.2, 0.7), value]]], dtype=np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0] * 255


def mix(pattern: ndarray, first: ndarray, second: ndarray) -> ndarray:
    """Mix two colours by a pattern (h, w) in 0..1 into colours (h, w, 3)."""
    return (first + pattern[:, :, None] * (second - first)).astype(np.float32)


def draw_background(size: int, rng: Generator) -> Scene:
    """Draw one kind of background above a slanted horizon and another kind below it."""
    y, x = np.mgrid[:size, :size]
    horizon = size * rng.uniform(0.25, 0.75) + (x - size / 2) * rng.uniform(-0.25, 0.25)
    image = np.zeros((size, size, 3), np.float32)
    kinds = np.zeros((size, size), np.uint8)
    for choice, region in ((ABOVE, y < horizon), (BELOW, y >= horizon)):
        name = str(rng.choice(list(choice)))
        # Hues vary so widely, here and for things, that colour alone does not reveal the kind.
        hue = HUES[name] + rng.uniform(-70, 70)
        dark, bright = random_colour(rng, hue, rng.uniform(0.3, 0.6)), random_colour(rng, hue, rng.uniform(0.7, 1))
        colours = mix(choice[name]((size, size), rng), dark, bright)
        image[region] = colours[region]
        kinds[region] = ALL_NAMES.index(name)
    return Scene(image, kinds, np.full((size, size), -1))


def draw_thing(kind: int, radius: float, rng: Generator) -> Sprite:
    """Draw a thing of a class on a canvas that just holds it; rotation, stretch and colour are random."""
    side = 2 * int(np.ceil(radius)) + 3
    angle, stretch = rng.uniform(0, 2 * np.pi), np.array([1, rng.uniform(0.7, 1)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    thing = THINGS[THING_NAMES[kind]]

    polygons = [(points * stretch @ turn.T * radius + side / 2) * SUPERSAMPLING for points in thing.outline()]
    fine = np.zeros((side * SUPERSAMPLING, side * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(fine, [np.round(points).astype(np.int32) for points in polygons], 255)
    cover = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5 - side / 2
    u, v = turn.T.astype(np.float32) @ np.stack([x.ravel(), y.ravel()])
    period = max(radius * rng.uniform(0.4, 0.6), 4.0)
    pattern = thing.texture(u.reshape(side, side), v.reshape(side, side), period, rng)
    hue = 360 * kind / len(THING_NAMES) + rng.uniform(-70, 70)
    dark, bright = random_colour(rng, hue, rng.uniform(0.15, 0.5)), random_colour(rng, hue + 40, rng.uniform(0.75, 1))
    if rng.random() < 0.5:
        dark, bright = bright, dark
    shade = 1 - 0.3 * (x + y)[:, :, None] / side
    return Sprite(kind, np.clip(mix(pattern, dark, bright) * shade, 0, 255), cover)


def place(scene: Scene, sprite: Sprite, rng: Generator, attempts: int = 10) -> None:
    """Put a thing in front of all others, at a place where it hides none of them too much, or skip it."""
    size, side = scene.kinds.shape[0], sprite.cover.shape[0]
    for _ in range(attempts):
        top, left = rng.integers(-side // 4, size - 3 * side // 4, size=2)
        inside = (slice(max(top, 0), min(top + side, size)), slice(max(left, 0), min(left + side, size)))
        own = (slice(inside[0].start - top, inside[0].stop - top), slice(inside[1].start - left, inside[1].stop - left))
        solid = sprite.cover > 0.5
        if solid[own].sum() >= MOST_HIDDEN * solid.sum() and nothing_lost(scene, inside, solid[own]):
            paint(scene, Sprite(sprite.kind, sprite.colours[own], sprite.cover[own]), inside)
            scene.things.append((sprite.kind, int(solid.sum())))
            return


def nothing_lost(scene: Scene, inside: tuple[slice, slice], solid: ndarray) -> bool:
    """Tell whether every thing stays visible enough if ``solid`` (bool) covers the region ``inside``."""
    count = len(scene.things)
    before = np.bincount(scene.owners.ravel() + 1, minlength=count + 1)[1:]
    lost = np.bincount(scene.owners[inside][solid] + 1, minlength=count + 1)[1:]
    areas = np.array([area for _, area in scene.things])
    return bool(np.all(before - lost >= MOST_HIDDEN * areas))


def paint(scene: Scene, sprite: Sprite, inside: tuple[slice, slice]) -> None:
    """Blend a thing over the region, with a soft shadow, and write its labels."""
    shadow: np.ndarray = np.zeros(scene.kinds.shape, np.float32)
    shadow[inside] = sprite.cover
    width = max(sprite.cover.shape[0] // 8, 1)
    shadow = cv2.blur(np.roll(shadow, width, axis=0), (2 * width + 1, 2 * width + 1))
    scene.image *= 1 - 0.45 * shadow[:, :, None]
    cover = sprite.cover[:, :, None]
    scene.image[inside] = cover * sprite.colours + (1 - cover) * scene.image[inside]
    solid = sprite.cover > 0.5
    scene.kinds[inside][solid] = sprite.kind
    scene.owners[inside][solid] = len(scene.things)


def light(scene: Scene, rng: Generator) -> None:
    """Light the scene from one side, tint it, add the camera's blur and noise, and round to uint8."""
    size = scene.kinds.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.7)
    gain = rng.uniform(0.55, 1.1) * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))
    image = scene.image * gain[:, :, None] * rng.uniform(0.85, 1.15, 3)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    image += rng.normal(0, rng.uniform(1, 6), image.shape)
    scene.image = np.clip(np.round(image), 0, 255).astype(np.uint8)
