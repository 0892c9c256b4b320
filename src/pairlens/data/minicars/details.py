"""Wheels, wheel arches, headlamps and tail lamps of a car."""

from functools import cache

import numpy as np

from pairlens.data.minicars.car_models import CarModel
from pairlens.data.minicars.geometry import Frame, Outline, box, circle, path, smooth


def arches(f: Frame) -> list[Outline]:
    """Return the wheel wells and the cladding around them."""
    m = f.model
    shapes = []
    for axle in f.axles:
        if m.cladding > 0:
            shapes += [Outline("trim", circle(axle, m.tyre, m.tyre + 0.07 + m.cladding, steps=40))]
        shapes += [Outline("well", circle(axle, m.tyre, m.tyre + 0.06, steps=40))]
    return shapes


def wheels(model: CarModel, angles: tuple[float, float]) -> list[Outline]:
    """Return the two wheels on the road, each rotated by its angle in radians."""
    axles = (model.front, model.front + model.wheelbase)
    shapes = []
    for angle, axle in zip(angles, axles, strict=True):
        # The hub is one tyre radius above the road.
        turn = rotation(angle)
        hub = (axle, model.tyre)
        shapes += [Outline(part.ink, part.points @ turn + hub, "front") for part in _wheel(model)]
    return shapes


def rotation(angle: float) -> np.ndarray:
    """Return the (2, 2) matrix that rotates row vectors by an angle in radians."""
    cos = np.cos(angle)
    sin = np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


@cache
def _wheel(model: CarModel) -> tuple[Outline, ...]:
    """Return a wheel around the origin, from back to front."""
    # In units of the radius of the tyre, as the sizes of the model are.
    tyre = Outline("tyre", circle(0, 0, 1, steps=36))
    wall = Outline("wall", circle(0, 0, model.rim_size + 0.1))
    rim = Outline("rim", circle(0, 0, model.rim_size))
    parts = [tyre, wall, rim, *_rim(model)]
    return tuple(Outline(part.ink, part.points * model.tyre) for part in parts)


def _rim(m: CarModel) -> list[Outline]:
    """Return the shapes inside the edge of the rim, for a tyre of radius 1."""
    # The edge of the rim is 0.055 wide; the rest shows the hollow behind the spokes.
    inner = m.rim_size - 0.055
    turns = [rotation(angle) for angle in np.arange(m.spokes) * 2 * np.pi / m.spokes]
    match m.rim:
        case "disc":
            hole = circle(0.68 * inner, 0, 0.1 + 0.06 * m.spoke_width, steps=12)
            holes = [Outline("hollow", hole @ turn) for turn in turns]
            return [*holes, Outline("hollow", circle(0, 0, 0.13, steps=14))]
        case "cap":
            cap = 0.3 + 0.25 * m.spoke_width
            rings: list[Outline] = [Outline("hollow", circle(0, 0, cap + 0.07)), Outline("rim", circle(0, 0, cap))]
            return [*rings, Outline("glare", circle(0, 0, 0.6 * cap))]
        case _:
            hub = [Outline("rim", circle(0, 0, 0.2, steps=16)), Outline("hollow", circle(0, 0, 0.1, steps=10))]
            blade = _blade(m, inner + 0.03, m.spoke_width * inner * 0.85 / m.spokes + 0.02)
            return [Outline("hollow", circle(0, 0, inner)), *(Outline("rim", blade @ turn) for turn in turns), *hub]


def _blade(m: CarModel, reach: float, w: float) -> np.ndarray:
    """Return one spoke along the x axis, from the hub to `reach`, of half width w."""
    match m.rim:
        case "split":
            outer = (0.25, 0.0), (reach, 0.7 * w), (reach, 1.5 * w)
            # Two arms from the hub to the edge of the rim, with a gap between them.
            return path((0.05, 0), (reach, -1.5 * w), (reach, -0.7 * w), *outer)
        case "turbine":
            outer = (reach - 0.01, 3 * w), (0.5 * reach, 1.6 * w), (0, w)
            return path((0, -w), (0.6 * reach, 0.2 * w), (reach, 1.6 * w), *outer)
        case "star":
            # The arms of the star meet halfway between two spokes.
            waist = 0.34 + 0.2 * m.spoke_width
            half = np.pi / m.spokes
            side = (waist * np.cos(half), waist * np.sin(half))
            return path((0, 0), (side[0], -side[1]), (reach + 0.02, 0), side)
        case _:
            return path((0, -w), (reach, -0.8 * w), (reach, 0.8 * w), (0, w))


def headlamp(f: Frame) -> list[Outline]:
    """Return the headlamp, below the edge of the bonnet.

    Lamps reach beyond the body, to x = -0.2, and are cut off at its outline because they belong to the layer "skin".
    """
    size = f.model.lamp_size
    y = f.model.nose - 0.12
    match f.model.lamp:
        case "round":
            x = 0.2 if f.model.body == "beetle" else 0.15 * size
            return [Outline("chrome", circle(x, y, 0.125 * size)), Outline("lamp", circle(x, y, 0.10 * size))]
        case "slit":
            slit = path((-0.2, y - 0.01), (0.5 * size, y + 0.06), (0.52 * size, y + 0.1), (-0.2, y + 0.06))
            return [Outline("lamp", slit)]
        case "almond":
            lower = (-0.2, y - 0.06, 0.1), (0.16, y - 0.08, 0.4), (0.52 * size, y + 0.1, 0.2)
            return [Outline("lamp", smooth(*lower, (0.1, y + 0.09, 0.4), (-0.2, y + 0.04, 0.1)))]
        case "block":
            low = y - 0.1 * size
            edge = 0.2 * size
            signal = Outline("signal", box(edge, low, edge + 0.1, y + 0.07, soft=0.05))
            return [Outline("lamp", box(-0.2, low, edge, y + 0.07, soft=0.05)), signal]
        case "wedge":
            low = y - 0.12 * size
            return [Outline("lamp", path((-0.2, low), (0.1, low), (0.42 * size, y + 0.1), (-0.2, y + 0.06)))]


def tail_lamp(f: Frame) -> list[Outline]:
    """Return the tail lamp, below the edge of the tail; a tall one goes up the rear pillar of a car without a boot."""
    end = f.model.length
    size = f.model.tail_size
    y = f.model.tail_y - 0.12
    match f.model.tail:
        case "tall":
            # A car whose deck is at its end has no boot.
            high = f.belt(f.deck) + 0.25 if f.model.deck_x > 0.93 else y + 0.06
            return [Outline("tail", box(end - 0.16 * size, y - 0.22 * size, end + 0.2, high, soft=0.08))]
        case "block":
            edge = end - 0.28 * size
            low = y - 0.08 * size
            lens = Outline("lens", box(edge, low, edge + 0.12 * size, y + 0.07, soft=0.05))
            return [Outline("tail", box(edge, low, end + 0.2, y + 0.07, soft=0.05)), lens]
        case "strip":
            edge = end - 0.5 * size
            strip = path((edge, y + 0.05), (end + 0.2, y - 0.02), (end + 0.2, y + 0.06), (edge, y + 0.08))
            return [Outline("tail", strip)]
        case "round":
            x = end - 0.11
            return [
                Outline("chrome", circle(x, y - 0.04, 0.1 * size)),
                Outline("tail", circle(x, y - 0.04, 0.08 * size)),
            ]
        case "hook":
            left = (end - 0.42 * size, y + 0.06, 0.1), (end - 0.14, y - 0.16 * size, 0.2)
            return [Outline("tail", smooth(*left, (end + 0.2, y - 0.18 * size, 0.1), (end + 0.2, y + 0.06, 0.1)))]
