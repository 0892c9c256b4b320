"""What hangs over the car and what stands in its way."""

import numpy as np

from pairlens.data.drawing.easel import Easel


def paint_sky(easel: Easel) -> None:
    """Hang a sun or moon in the sky, and clouds."""
    rng = easel.rng
    if rng.random() < 0.5:
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.4), rng.uniform(0.03, 0.07)
        easel.disc(x, y, 1.7 * r, 1.7 * r, (255, 250, 225), 60)
        easel.disc(x, y, r, r, (255, 250, 225))
    for _ in range(rng.integers(0, 4)):
        _cloud(easel, rng.uniform(0, 1), rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.12))


def _cloud(easel: Easel, x: float, y: float, size: float) -> None:
    """A flat-footed cloud."""
    for dx, dy, r in ((-0.9, 0.1, 0.4), (-0.25, -0.1, 0.6), (0.5, 0.0, 0.5), (1.1, 0.15, 0.35)):
        easel.disc(x + dx * size, y + dy * size, 1.15 * r * size, r * size, (255, 255, 255))
    easel.box(x - 0.95 * size, y + 0.15 * size, x + 1.15 * size, y + 0.5 * size, (255, 255, 255))


def paint_foreground(easel: Easel, ground: float) -> None:
    """Put something in the way now and then: a post, grass, traffic cones, fallen leaves."""
    foot = ground + easel.rng.uniform(0.06, 0.12)
    match easel.rng.integers(10):
        case 0:
            _post(easel, foot)
        case 1:
            _grass(easel, foot)
        case 2:
            _cones(easel, foot)
        case 3:
            _leaves(easel)
        case _:
            pass


def _post(easel: Easel, foot: float) -> None:
    x, half = easel.rng.uniform(0.05, 0.95), easel.rng.uniform(0.010, 0.022)
    easel.box(x - half, 0, x + half, foot + 0.05, easel.one(((60, 66, 76), (170, 172, 176))))
    easel.box(x - 2 * half, foot, x + 2 * half, foot + 0.06, (52, 56, 66))


def _grass(easel: Easel, foot: float) -> None:
    for x in easel.rng.uniform(0, 1, 26):
        tip = x + easel.rng.uniform(-0.03, 0.03), foot - easel.rng.uniform(0.04, 0.16)
        easel.polygon(np.array([(x, foot + 0.3), tip, (x + 0.022, foot + 0.3)]), easel.one(((96, 150, 80),)))
    easel.box(0, foot + 0.03, 1, 1, (92, 146, 78))


def _cones(easel: Easel, foot: float) -> None:
    cone = np.array([(0, -0.13), (0.04, 0), (-0.04, 0)])
    band = np.array([(-0.014, -0.084), (0.014, -0.084), (0.024, -0.05), (-0.024, -0.05)])
    for x in easel.rng.uniform(0.05, 0.95, 2):
        easel.polygon(np.add(cone, (x, foot)), (240, 112, 50))
        easel.polygon(np.add(band, (x, foot)), (250, 246, 240))


def _leaves(easel: Easel) -> None:
    for x, y in easel.rng.uniform(0, 1, (24, 2)):
        easel.disc(x, y, 0.010, 0.006, easel.one(((214, 140, 60), (196, 92, 60))))
