"""The glasshouse of a car model."""

import numpy as np

from pairlens.data.drawing.frame import Frame
from pairlens.data.drawing.shapes import Shape, box, smooth, stroke


def cabin(f: Frame) -> list[Shape]:
    """The glasshouse: side windows, pillars, seats, glare, and the two screens seen edge on."""
    if f.model.body == "roadster":
        return []
    glass, last = _window(f)
    shapes = [Shape("glass", _screen(f, f.cowl + 0.05, f.screen - 0.03))]
    if f.model.body not in ("van", "pickup"):
        shapes += [Shape("glass", _screen(f, f.roof + 0.06, f.deck - 0.04))]
    shapes += [Shape("chrome" if f.model.chrome else "line", stroke(np.vstack([glass, glass[:1]]), 0.07))]
    shapes += [Shape("glass", glass), *_seats(f, last), *_glare(f, glass, last)]
    return shapes + [_pillar(f, x, glass) for x in _pillars(f, last)]


def _screen(f: Frame, left: float, right: float) -> np.ndarray:
    """A sheet of glass along the roof line."""
    return stroke(np.array([(x, f.top(x)) for x in np.linspace(left, right, 9)]), 0.11)


def _window(f: Frame) -> tuple[np.ndarray, float]:
    """Give the side glass as one outline, and where it ends along the belt."""
    m = f.model
    last = f.roof + m.glass_end * (f.deck - f.roof)
    lid = m.height - m.roof_rail
    if m.body == "van":
        last = f.cowl + (f.deck - f.cowl) * (0.30 if m.doors == 2 or m.spokes % 2 else 0.9)
    front = [(f.cowl + 0.17, f.belt_y + 0.02, 0.12), (f.screen + 0.06, lid - 0.6 * m.roof_drop, 0.25)]
    if last < f.roof:
        return smooth(*front, (last, lid, 0.1), (last, f.belt(last) + 0.02, 0.1)), last
    back = f.roof_y - m.roof_rail
    rear = [(*(f.crown[0], lid + 0.01), 0.4), (f.roof - 0.06, back + 0.01, 0.3)]
    kick = min(m.kink, 0.45 * (back - f.belt(last)))
    rear += [(last, f.belt(last) + 0.03 + kick, 0.15), (last - 0.12 - kick, f.belt(last) + 0.02, 0.15)]
    return smooth(*front, *rear), last


def _seats(f: Frame, last: float) -> list[Shape]:
    rows = 3 if f.model.body == "limousine" else 2 if f.model.doors == 4 and last > f.screen + 1.2 else 1
    shapes = []
    for x in np.linspace(f.screen + 0.55, last - 0.5, rows) if rows > 1 else [min(f.screen + 0.5, last - 0.34)]:
        low = f.belt(x)
        back = [(x - 0.02, low, 0.1), (x + 0.04, low + 0.15, 0.4), (x + 0.2, low + 0.15, 0.4), (x + 0.22, low, 0.1)]
        head = box(x + 0.07, low + 0.16, x + 0.21, low + 0.27, soft=0.4)
        shapes += [Shape("inside", smooth(*back)), Shape("inside", head)]
    return shapes


def _lid(glass: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Give the height of the glass's upper edge at places along it."""
    peak = glass[glass[:, 1] > 0.5 * (glass[:, 1].min() + glass[:, 1].max())]
    peak = peak[np.argsort(peak[:, 0], kind="stable")]
    return np.interp(x, peak[:, 0], peak[:, 1])


def _glare(f: Frame, glass: np.ndarray, last: float) -> list[Shape]:
    """Slanted reflections, cut to the glass along its upper edge."""
    shapes = []
    for start, width in ((0.24, 0.16), (0.34, 0.05), (0.70, 0.12)):
        x = f.screen + (last - f.screen) * start
        upper = np.array([x + 0.22, x + 0.22 + width])
        foot, lid = f.belt(x) + 0.02, _lid(glass, upper)
        if upper[1] < min(last, f.roof) - 0.05:
            band = np.array([(x, foot), (upper[0], lid[0]), (upper[1], lid[1]), (x + width, foot)])
            shapes += [Shape("glare", band)]
    return shapes


def _pillars(f: Frame, last: float) -> list[float]:
    """Give where pillars stand on the belt, between the windscreen and the end of the glass."""
    m, start = f.model, f.cowl + 0.2
    if m.body == "limousine":
        return [start + share * (last - start) for share in (0.33, 0.48, 0.74)]
    if m.doors == 2 or last < f.screen + 1.3:
        share = 0.66 if m.body in ("coupe", "wedge", "pickup") else 0.60
        return [start + share * (last - start)] if last - start > 1.1 else []
    places = [start + 0.47 * (last - start)]
    return [*places, start + 0.82 * (last - start)] if m.body in ("estate", "suv", "van", "saloon") else places


def _pillar(f: Frame, x: float, glass: np.ndarray) -> Shape:
    m, half = f.model, 0.5 * f.model.pillar_width
    foot, head = np.array([x - half, x + half]), np.array([x + half, x - half]) + m.pillar_lean
    lower = np.stack([foot, [f.belt(x), f.belt(x)]], 1)
    ends = np.vstack([lower, np.stack([head, _lid(glass, head) + 0.012], 1)])
    return Shape("roof" if m.pillar == "painted" else "trim", ends)
