"""Views of modules and functions; the originals keep their names."""

import math

from backbones.openmmlab.views import View, with_names

SCALE = 2


def scaled(value, *, power=1):
    return SCALE * value**power


def test_view__replaces_some_names():
    view = View(math, pi=3)
    assert (view.pi, view.sqrt(4), view.__name__) == (3, 2, 'math')
    assert math.pi > 3.14


def test_with_names__sees_other_globals():
    scaled.note = 'kept'
    other = with_names(scaled, SCALE=10)
    assert (other(3), other(3, power=2), scaled(3)) == (30, 90, 6)
    assert other.note == 'kept' and other.__name__ == 'scaled'
