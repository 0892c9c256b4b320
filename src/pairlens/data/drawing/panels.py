"""Doors, handles, bumpers, grille and mirror of a car model."""

import numpy as np

from pairlens.data.drawing.frame import Frame
from pairlens.data.drawing.models import Handle
from pairlens.data.drawing.shapes import Ink, Shape, box, circle, path, smooth, stroke


def doors(f: Frame) -> list[Shape]:
    """Shut lines, and a handle for each door."""
    m, sill = f.model, f.model.clearance + 0.06
    start, end = _between_wheels(f)
    posts = [start, start + (0.52 if m.doors == 4 else 0.85) * (end - start)]
    shuts = [path((x + 0.06, sill), (x, sill + 0.2), (x, f.belt(x) - 0.1), (x + 0.03, f.belt(x))) for x in posts]
    if m.doors == 4:
        arch = m.tyre + 0.7 * (m.tyre + 0.1)
        shuts += [path((end + 0.04, sill), (end + 0.04, m.tyre), (end + 0.16, arch), (end + 0.2, f.belt(end) - 0.02))]
    hinges = [posts[1], end + 0.16] if m.doors == 4 else [posts[1]]
    lines = [Shape("line", stroke(shut, 0.026)) for shut in shuts]
    return lines + [_handle(m.handle, x - 0.3, f.belt(x) - 0.17) for x in hinges]


def _between_wheels(f: Frame) -> tuple[float, float]:
    return f.axles[0] + f.model.tyre + 0.16, f.axles[1] - f.model.tyre - 0.04


def _handle(kind: Handle, x: float, y: float) -> Shape:
    match kind:
        case "bar":
            return Shape("shade", box(x, y, x + 0.22, y + 0.06, soft=0.4))
        case "flap":
            return Shape("trim", box(x + 0.03, y, x + 0.19, y + 0.09, soft=0.15))
        case "chrome":
            return Shape("chrome", box(x, y + 0.01, x + 0.22, y + 0.055, soft=0.4))


def fittings(f: Frame) -> list[Shape]:
    """The fuel cap, a vent, the rubbing strip, the bed of a pickup."""
    m, (start, end) = f.model, _between_wheels(f)
    shapes: list[Shape] = []
    if m.fuel_cap:
        shapes += [Shape("line", stroke(circle(f.axles[1] + 0.32, f.belt(f.deck) - 0.24, 0.075), 0.022))]
    if m.vent:
        x = start - 0.1
        vent = smooth((x, 0.56, 0.1), (x + 0.24, 0.6, 0.1), (x + 0.28, 0.68, 0.1), (x + 0.04, 0.68, 0.1))
        shapes += [Shape("trim", vent)]
    if m.strip:
        y = m.clearance + 0.42 * (m.cowl_y - m.clearance)
        shapes += [Shape("trim", box(start - 0.1, y, end + 0.1, y + 0.06))]
    if m.body == "pickup":
        gap = f.deck + 0.03
        shapes += [Shape("line", stroke(path((gap, m.deck_y), (gap, m.clearance + 0.06)), 0.04))]
        shapes += [Shape("trim", box(gap + 0.02, m.deck_y - 0.07, m.length, m.deck_y + 0.2, soft=0.02))]
    return shapes


def bumpers(f: Frame) -> list[Shape]:
    """The sill, and the bumpers unless they are painted."""
    m, low, end = f.model, f.model.clearance, f.model.length
    high = low + m.sill
    sill = Shape("trim", path((-0.5, low - 0.3), (end + 0.5, low - 0.3), (end + 0.5, high), (-0.5, high)))
    if m.bumper == "painted":
        return [sill]
    ink: Ink = "chrome" if m.bumper == "chrome" else "trim"
    foot, deep = high + 0.12, 0.12 if ink == "chrome" else 0.2
    front = box(-0.2, foot, f.axles[0] - m.tyre - 0.12, foot + deep, soft=0.25)
    rear = box(f.axles[1] + m.tyre + 0.12, foot + 0.02, end + 0.2, foot + 0.02 + deep, soft=0.25)
    return [sill, Shape(ink, front), Shape(ink, rear)]


def grille(f: Frame) -> list[Shape]:
    """The grille, seen from the side as its edge."""
    low, mid = f.model.clearance, 0.5 * (f.model.nose + f.model.clearance)
    match f.model.grille:
        case "slats":
            return [Shape("chrome", box(-0.1, mid + y, 0.13, mid + y + 0.035)) for y in (-0.05, 0.02, 0.09)]
        case "bar":
            bar = Shape("chrome", box(-0.1, mid, 0.16, mid + 0.04))
            return [Shape("trim", box(-0.1, mid, 0.16, f.model.nose - 0.14)), bar]
        case "mouth":
            lips = (-0.1, low + 0.08, 0.1), (0.26, low + 0.1, 0.3), (0.14, mid + 0.06, 0.4), (-0.1, mid + 0.08, 0.1)
            return [Shape("trim", smooth(*lips))]
        case "none":
            return []


def mirror(f: Frame) -> list[Shape]:
    """The mirror, in front of everything."""
    x, y = f.cowl + 0.24, f.belt(f.cowl) + 0.01
    ink: Ink = "trim" if f.model.pillar == "black" else "paint"
    head = smooth((x, y + 0.02, 0.3), (x + 0.2, y + 0.03, 0.3), (x + 0.19, y + 0.14, 0.3), (x + 0.03, y + 0.12, 0.4))
    stalk = stroke(np.array([(x + 0.1, y - 0.03), (x + 0.12, y + 0.05)]), 0.05)
    shadow = box(x + 0.02, y + 0.02, x + 0.19, y + 0.06, soft=0.3)
    return [Shape("line", stalk, "front"), Shape(ink, head, "front"), Shape("shade", shadow, "front")]
