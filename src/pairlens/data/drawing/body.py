"""The painted body of a car model, its shading, and what it hides in part."""

import numpy as np

from pairlens.data.drawing.frame import Frame
from pairlens.data.drawing.shapes import Shape, box, path, smooth, stroke


def behind(f: Frame) -> list[Shape]:
    """What the body hides in part: the underbody, rails, a mast, a spoiler, the seats of an open car."""
    m = f.model
    parts = [Shape("well", box(f.axles[0], 0.55 * m.clearance, f.axles[1], m.clearance + 0.2), "behind")]
    if m.rails:
        front, back = f.screen + 0.15, f.roof - 0.2
        rail = ((front, f.top(front), 0.1), (front + 0.15, m.height + 0.07, 0.4))
        rail += ((back - 0.16, m.height + 0.07, 0.4), (back, f.top(back) - 0.02, 0.1))
        parts += [Shape("trim", smooth(*rail), "behind")]
    if m.mast:
        foot = f.roof - 0.2
        parts += [Shape("line", stroke(path((foot, f.top(foot)), (foot + 0.3, m.height + 0.3)), 0.025), "behind")]
    return parts + _spoiler(f) + (_open_cabin(f) if m.body == "roadster" else [])


def _spoiler(f: Frame) -> list[Shape]:
    end = f.model.length
    match f.model.rear:
        case "wing":
            y = f.top(end - 0.3)
            knots = ((end - 0.5, y + 0.13, 0.2), (end + 0.04, y + 0.2, 0.2))
            knots += ((end + 0.03, y + 0.26, 0.2), (end - 0.5, y + 0.18, 0.3))
            foot = box(end - 0.34, y - 0.1, end - 0.26, y + 0.16)
            return [Shape("trim", foot, "behind"), Shape("paint", smooth(*knots), "behind")]
        case "lip":
            y = f.top(end - 0.25)
            knots = ((end - 0.4, y - 0.05, 0.2), (end + 0.02, y - 0.08, 0.1))
            knots += ((end + 0.03, y + 0.06, 0.2), (end - 0.4, y, 0.3))
            return [Shape("paint", smooth(*knots), "behind")]
        case "roof":
            x, y = f.roof, f.roof_y
            knots = ((x - 0.4, y - 0.05, 0.1), (x + 0.12, y - 0.1, 0.2))
            knots += ((x + 0.14, y - 0.03, 0.3), (x - 0.4, f.top(x - 0.4), 0.3))
            return [Shape("roof", smooth(*knots), "behind")]
        case "none":
            return []


def _open_cabin(f: Frame) -> list[Shape]:
    """A windscreen, a seat, a steering wheel and the folded hood."""
    m, seat, low = f.model, f.screen + 0.42 * (f.deck - f.screen), f.model.cowl_y
    lean = seat + 0.14
    glass = [(f.cowl, low - 0.02), (f.screen, m.height), (f.screen + 0.1, m.height - 0.02), (f.cowl + 0.3, low - 0.05)]
    hood = ((f.deck - 0.3, low - 0.1, 0.2), (f.deck - 0.2, m.deck_y + 0.1 + 0.5 * m.kink, 0.4))
    hood += ((f.deck + 0.2, m.deck_y + 0.04, 0.3), (f.deck + 0.2, m.deck_y - 0.2, 0.1))
    wheel = stroke(path((f.screen + 0.12, low - 0.1), (f.screen + 0.2, low + 0.09)), 0.04)
    return [
        Shape("glass", path(*glass), "behind"),
        Shape("chrome" if m.chrome else "trim", stroke(path(*glass[:2]), 0.05), "behind"),
        Shape("seat", box(seat, low - 0.25, lean + 0.12, m.height - 0.16, soft=0.4), "behind"),
        Shape("seat", box(lean, m.height - 0.16, lean + 0.16, m.height - 0.03, soft=0.4), "behind"),
        Shape("trim", wheel, "behind"),
        Shape("trim", smooth(*hood), "behind"),
    ]


def shell(f: Frame) -> list[Shape]:
    """The painted body, the roof above the belt, and the fenders of a classic."""
    m, shapes = f.model, [Shape("paint", f.outline, "body")]
    if m.body == "beetle":
        fenders = _fender(f, f.axles[0], 0.62), _fender(f, f.axles[1], 0.66)
        shapes += [Shape("paint", fender, "body") for fender in fenders]
    if m.body != "roadster":
        front, end = f.cowl - 0.1, f.deck + 0.02
        shapes += [Shape("roof", path((front, f.belt(f.cowl)), (front, 3), (end, 3), (end, f.belt(f.deck))))]
    return shapes


def _fender(f: Frame, axle: float, reach: float) -> np.ndarray:
    low, high = f.model.clearance, f.model.tyre * 2 + 0.22
    front, back = axle - reach, axle + reach
    rise = (front - 0.08, low + 0.04, 0.3), (front + 0.02, high - 0.12, 0.5), (axle - 0.1, high + 0.14, 0.5)
    return smooth(*rise, (back, high - 0.1, 0.5), (back + 0.12, low + 0.02, 0.2))


def shading(f: Frame) -> list[Shape]:
    """Light from above: a bright shoulder, a dark flank, a rim of light along the roof."""
    m, far = f.model, f.model.length + 0.5
    low = m.clearance + (m.cowl_y - m.clearance) * m.crease
    foot, nose, tail = m.clearance + 0.16, m.nose - 0.14, f.belt(f.deck) - 0.12
    shine = ((0.12, nose, 0.2), (f.cowl, f.belt_y - 0.10, 0.4), (f.deck, tail, 0.4), (m.length, tail - 0.06, 0.1))
    shine += ((f.deck, tail - 0.07, 0.4), (f.cowl, f.belt_y - 0.17, 0.4))
    skyline = f.outline[f.outline[:, 1] > nose + 0.02]
    crest = np.vstack([np.add(skyline, (0, 0.05)), np.subtract(skyline, (0, 0.045))[::-1]])
    return [
        Shape("shade", path((-0.5, low), (far, low + m.crease_rise), (far, 0), (-0.5, 0))),
        Shape("light", stroke(path((0.1, low + 0.012), (m.length, low + m.crease_rise + 0.012)), 0.025)),
        Shape("light", smooth(*shine)),
        Shape("shade", path((-0.5, foot), (far, foot), (far, 0), (-0.5, 0))),
        Shape("light", crest),
    ]
