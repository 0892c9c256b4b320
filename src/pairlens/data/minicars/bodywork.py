"""Body of a car: shell, shading, windows, doors, bumpers, mirror and the parts behind the shell.

Each function returns the shapes of one part, from back to front, in metres; see `geometry.Frame` for the lines that they
are placed by. Shapes of the layer "skin" may reach beyond the body, because they are cut off at its outline.
"""

import numpy as np

from pairlens.data.minicars.car_models import Handle
from pairlens.data.minicars.geometry import Frame, Ink, Outline, box, circle, path, smooth, stroke


def behind(f: Frame) -> list[Outline]:
    """Return what the body hides in part: underbody, roof rails, aerial, spoiler, and the cabin of an open car."""
    m = f.model
    parts = [Outline("well", box(f.axles[0], 0.55 * m.clearance, f.axles[1], m.clearance + 0.2), "behind")]
    if m.rails:
        front = f.screen + 0.15
        back = f.roof - 0.2
        rail = (
            (front, f.top(front), 0.1),
            (front + 0.15, m.height + 0.07, 0.4),
            (back - 0.16, m.height + 0.07, 0.4),
            (back, f.top(back) - 0.02, 0.1),
        )
        parts += [Outline("trim", smooth(*rail), "behind")]
    if m.mast:
        foot = f.roof - 0.2
        parts += [Outline("line", stroke(path((foot, f.top(foot)), (foot + 0.3, m.height + 0.3)), 0.025), "behind")]
    return parts + _spoiler(f) + (_open_cabin(f) if m.body == "roadster" else [])


def _spoiler(f: Frame) -> list[Outline]:
    end = f.model.length
    match f.model.rear:
        case "wing":
            y = f.top(end - 0.3)
            knots = (
                (end - 0.5, y + 0.13, 0.2),
                (end + 0.04, y + 0.2, 0.2),
                (end + 0.03, y + 0.26, 0.2),
                (end - 0.5, y + 0.18, 0.3),
            )
            foot = box(end - 0.34, y - 0.1, end - 0.26, y + 0.16)
            return [Outline("trim", foot, "behind"), Outline("paint", smooth(*knots), "behind")]
        case "lip":
            y = f.top(end - 0.25)
            knots = (
                (end - 0.4, y - 0.05, 0.2),
                (end + 0.02, y - 0.08, 0.1),
                (end + 0.03, y + 0.06, 0.2),
                (end - 0.4, y, 0.3),
            )
            return [Outline("paint", smooth(*knots), "behind")]
        case "roof":
            x, y = f.roof, f.roof_y
            knots = (
                (x - 0.4, y - 0.05, 0.1),
                (x + 0.12, y - 0.1, 0.2),
                (x + 0.14, y - 0.03, 0.3),
                (x - 0.4, f.top(x - 0.4), 0.3),
            )
            return [Outline("roof", smooth(*knots), "behind")]
        case "none":
            return []


def _open_cabin(f: Frame) -> list[Outline]:
    """Return the windscreen, a seat with its headrest, the steering wheel and the folded roof."""
    m = f.model
    seat = f.screen + 0.42 * (f.deck - f.screen)
    low = m.cowl_y
    lean = seat + 0.14
    glass = [(f.cowl, low - 0.02), (f.screen, m.height), (f.screen + 0.1, m.height - 0.02), (f.cowl + 0.3, low - 0.05)]
    hood = (
        (f.deck - 0.3, low - 0.1, 0.2),
        (f.deck - 0.2, m.deck_y + 0.1 + 0.5 * m.kink, 0.4),
        (f.deck + 0.2, m.deck_y + 0.04, 0.3),
        (f.deck + 0.2, m.deck_y - 0.2, 0.1),
    )
    wheel = stroke(path((f.screen + 0.12, low - 0.1), (f.screen + 0.2, low + 0.09)), 0.04)
    return [
        Outline("glass", path(*glass), "behind"),
        Outline("chrome" if m.chrome else "trim", stroke(path(*glass[:2]), 0.05), "behind"),
        Outline("seat", box(seat, low - 0.25, lean + 0.12, m.height - 0.16, soft=0.4), "behind"),
        Outline("seat", box(lean, m.height - 0.16, lean + 0.16, m.height - 0.03, soft=0.4), "behind"),
        Outline("trim", wheel, "behind"),
        Outline("trim", smooth(*hood), "behind"),
    ]


def shell(f: Frame) -> list[Outline]:
    """Return the painted body, the roof above the belt, and the fenders of a beetle."""
    m = f.model
    shapes = [Outline("paint", f.outline, "body")]
    if m.body == "beetle":
        shapes += [Outline("paint", _fender(f, f.axles[0], 0.62), "body")]
        shapes += [Outline("paint", _fender(f, f.axles[1], 0.66), "body")]
    if m.body != "roadster":
        # Up to a height of 3 m: the outline of the body cuts the roof off.
        front = f.cowl - 0.1
        end = f.deck + 0.02
        shapes += [Outline("roof", path((front, f.belt(f.cowl)), (front, 3), (end, 3), (end, f.belt(f.deck))))]
    return shapes


def _fender(f: Frame, axle: float, reach: float) -> np.ndarray:
    low = f.model.clearance
    high = f.model.tyre * 2 + 0.22
    front = axle - reach
    back = axle + reach
    rise = (front - 0.08, low + 0.04, 0.3), (front + 0.02, high - 0.12, 0.5), (axle - 0.1, high + 0.14, 0.5)
    return smooth(*rise, (back, high - 0.1, 0.5), (back + 0.12, low + 0.02, 0.2))


def shading(f: Frame) -> list[Outline]:
    """Return the shading by light from above: bright shoulder, dark flank, bright edge along the roof."""
    m = f.model
    far = m.length + 0.5
    # The crease is the line along the flank below which the body is darker.
    low = m.clearance + (m.cowl_y - m.clearance) * m.crease
    foot = m.clearance + 0.16
    nose = m.nose - 0.14
    tail = f.belt(f.deck) - 0.12
    shine = (
        (0.12, nose, 0.2),
        (f.cowl, f.belt_y - 0.10, 0.4),
        (f.deck, tail, 0.4),
        (m.length, tail - 0.06, 0.1),
        (f.deck, tail - 0.07, 0.4),
        (f.cowl, f.belt_y - 0.17, 0.4),
    )
    skyline = f.outline[f.outline[:, 1] > nose + 0.02]
    # A band along the upper edge: the edge moved up, then moved down and reversed.
    crest = np.vstack([np.add(skyline, (0, 0.05)), np.subtract(skyline, (0, 0.045))[::-1]])
    return [
        Outline("shade", path((-0.5, low), (far, low + m.crease_rise), (far, 0), (-0.5, 0))),
        Outline("light", stroke(path((0.1, low + 0.012), (m.length, low + m.crease_rise + 0.012)), 0.025)),
        Outline("light", smooth(*shine)),
        Outline("shade", path((-0.5, foot), (far, foot), (far, 0), (-0.5, 0))),
        Outline("light", crest),
    ]


def cabin(f: Frame) -> list[Outline]:
    """Return side windows, pillars, seats, reflections, and windscreen and rear window seen from the side."""
    if f.model.body == "roadster":
        return []
    glass, last = _window(f)
    shapes = [Outline("glass", _screen(f, f.cowl + 0.05, f.screen - 0.03))]
    if f.model.body not in ("van", "pickup"):
        shapes += [Outline("glass", _screen(f, f.roof + 0.06, f.deck - 0.04))]
    shapes += [Outline("chrome" if f.model.chrome else "line", stroke(np.vstack([glass, glass[:1]]), 0.07))]
    shapes += [Outline("glass", glass), *_seats(f, last), *_glare(f, glass, last)]
    return shapes + [_pillar(f, x, glass) for x in _pillars(f, last)]


def _screen(f: Frame, left: float, right: float) -> np.ndarray:
    """Return a window seen from its edge: a stroke along the upper edge of the body."""
    return stroke(np.array([(x, f.top(x)) for x in np.linspace(left, right, 9)]), 0.11)


def _window(f: Frame) -> tuple[np.ndarray, float]:
    """Return the side windows as one polygon, and the x at which they end on the belt."""
    m = f.model
    last = f.roof + m.glass_end * (f.deck - f.roof)
    lid = m.height - m.roof_rail
    if m.body == "van":
        # A delivery van has windows in front only. The odd number of spokes is an arbitrary choice among the models.
        last = f.cowl + (f.deck - f.cowl) * (0.30 if m.doors == 2 or m.spokes % 2 else 0.9)
    front = [(f.cowl + 0.17, f.belt_y + 0.02, 0.12), (f.screen + 0.06, lid - 0.6 * m.roof_drop, 0.25)]
    if last < f.roof:
        return smooth(*front, (last, lid, 0.1), (last, f.belt(last) + 0.02, 0.1)), last
    back = f.roof_y - m.roof_rail
    rear = [(*(f.crown[0], lid + 0.01), 0.4), (f.roof - 0.06, back + 0.01, 0.3)]
    # The kink is the upward turn of the lower edge at the end of the windows.
    kick = min(m.kink, 0.45 * (back - f.belt(last)))
    rear += [(last, f.belt(last) + 0.03 + kick, 0.15), (last - 0.12 - kick, f.belt(last) + 0.02, 0.15)]
    return smooth(*front, *rear), last


def _seat_positions(f: Frame, last: float) -> np.ndarray:
    """Return the x of one seat per row of seats."""
    if f.model.body == "limousine":
        return np.linspace(f.screen + 0.55, last - 0.5, 3)
    if f.model.doors == 4 and last > f.screen + 1.2:
        return np.linspace(f.screen + 0.55, last - 0.5, 2)
    return np.array([min(f.screen + 0.5, last - 0.34)])


def _seats(f: Frame, last: float) -> list[Outline]:
    shapes = []
    for x in _seat_positions(f, last):
        low = f.belt(x)
        back = [(x - 0.02, low, 0.1), (x + 0.04, low + 0.15, 0.4), (x + 0.2, low + 0.15, 0.4), (x + 0.22, low, 0.1)]
        head = box(x + 0.07, low + 0.16, x + 0.21, low + 0.27, soft=0.4)
        shapes += [Outline("inside", smooth(*back)), Outline("inside", head)]
    return shapes


def _upper_edge(glass: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the height of the upper edge of the side windows at each x."""
    # The upper half of the polygon, sorted by x for interpolation.
    upper = glass[glass[:, 1] > 0.5 * (glass[:, 1].min() + glass[:, 1].max())]
    edge = upper[np.argsort(upper[:, 0], kind="stable")]
    return np.interp(x, edge[:, 0], edge[:, 1])


def _glare(f: Frame, glass: np.ndarray, last: float) -> list[Outline]:
    """Return up to three slanted reflections between the belt and the upper edge of the side windows."""
    shapes = []
    for start, width in ((0.24, 0.16), (0.34, 0.05), (0.70, 0.12)):
        x = f.screen + (last - f.screen) * start
        upper = np.array([x + 0.22, x + 0.22 + width])
        foot = f.belt(x) + 0.02
        lid = _upper_edge(glass, upper)
        # A reflection beyond the end of the windows is left out.
        if upper[1] < min(last, f.roof) - 0.05:
            band = np.array([(x, foot), (upper[0], lid[0]), (upper[1], lid[1]), (x + width, foot)])
            shapes += [Outline("glare", band)]
    return shapes


def _pillars(f: Frame, last: float) -> list[float]:
    """Return the x of each pillar on the belt, between the windscreen and the end of the side windows."""
    m = f.model
    start = f.cowl + 0.2
    if m.body == "limousine":
        return [start + share * (last - start) for share in (0.33, 0.48, 0.74)]
    if m.doors == 2 or last < f.screen + 1.3:
        share = 0.66 if m.body in ("coupe", "wedge", "pickup") else 0.60
        return [start + share * (last - start)] if last - start > 1.1 else []
    pillars = [start + 0.47 * (last - start)]
    if m.body in ("estate", "suv", "van", "saloon"):
        pillars.append(start + 0.82 * (last - start))
    return pillars


def _pillar(f: Frame, x: float, glass: np.ndarray) -> Outline:
    m = f.model
    half = 0.5 * m.pillar_width
    foot = np.array([x - half, x + half])
    # From right to left, so that foot and head together run around the pillar.
    head = np.array([x + half, x - half]) + m.pillar_lean
    lower = np.stack([foot, [f.belt(x), f.belt(x)]], 1)
    upper = np.stack([head, _upper_edge(glass, head) + 0.012], 1)
    return Outline("roof" if m.pillar == "painted" else "trim", np.vstack([lower, upper]))


def doors(f: Frame) -> list[Outline]:
    """Return the gaps around the doors, and a handle for each door."""
    m = f.model
    sill = m.clearance + 0.06
    start, end = _between_wheels(f)
    posts = [start, start + (0.52 if m.doors == 4 else 0.85) * (end - start)]
    gaps = [path((x + 0.06, sill), (x, sill + 0.2), (x, f.belt(x) - 0.1), (x + 0.03, f.belt(x))) for x in posts]
    if m.doors == 4:
        # The rear door ends in a curve around the wheel arch.
        arch = m.tyre + 0.7 * (m.tyre + 0.1)
        gaps += [path((end + 0.04, sill), (end + 0.04, m.tyre), (end + 0.16, arch), (end + 0.2, f.belt(end) - 0.02))]
    lines = [Outline("line", stroke(gap, 0.026)) for gap in gaps]
    # A handle is at the rear end of its door.
    door_ends = [posts[1], end + 0.16] if m.doors == 4 else [posts[1]]
    return lines + [_handle(m.handle, x - 0.3, f.belt(x) - 0.17) for x in door_ends]


def _between_wheels(f: Frame) -> tuple[float, float]:
    return f.axles[0] + f.model.tyre + 0.16, f.axles[1] - f.model.tyre - 0.04


def _handle(kind: Handle, x: float, y: float) -> Outline:
    match kind:
        case "bar":
            return Outline("shade", box(x, y, x + 0.22, y + 0.06, soft=0.4))
        case "flap":
            return Outline("trim", box(x + 0.03, y, x + 0.19, y + 0.09, soft=0.15))
        case "chrome":
            return Outline("chrome", box(x, y + 0.01, x + 0.22, y + 0.055, soft=0.4))


def fittings(f: Frame) -> list[Outline]:
    """Return the fuel cap, a vent, the protective strip, and the bed of a pickup."""
    m = f.model
    start, end = _between_wheels(f)
    shapes: list[Outline] = []
    if m.fuel_cap:
        shapes += [Outline("line", stroke(circle(f.axles[1] + 0.32, f.belt(f.deck) - 0.24, 0.075), 0.022))]
    if m.vent:
        x = start - 0.1
        vent = smooth((x, 0.56, 0.1), (x + 0.24, 0.6, 0.1), (x + 0.28, 0.68, 0.1), (x + 0.04, 0.68, 0.1))
        shapes += [Outline("trim", vent)]
    if m.strip:
        y = m.clearance + 0.42 * (m.cowl_y - m.clearance)
        shapes += [Outline("trim", box(start - 0.1, y, end + 0.1, y + 0.06))]
    if m.body == "pickup":
        gap = f.deck + 0.03
        shapes += [Outline("line", stroke(path((gap, m.deck_y), (gap, m.clearance + 0.06)), 0.04))]
        shapes += [Outline("trim", box(gap + 0.02, m.deck_y - 0.07, m.length, m.deck_y + 0.2, soft=0.02))]
    return shapes


def bumpers(f: Frame) -> list[Outline]:
    """Return the sill, and the bumpers unless they are painted like the body."""
    m = f.model
    low = m.clearance
    end = m.length
    high = low + m.sill
    sill = Outline("trim", path((-0.5, low - 0.3), (end + 0.5, low - 0.3), (end + 0.5, high), (-0.5, high)))
    if m.bumper == "painted":
        return [sill]
    ink: Ink = "chrome" if m.bumper == "chrome" else "trim"
    foot = high + 0.12
    deep = 0.12 if ink == "chrome" else 0.2
    front = box(-0.2, foot, f.axles[0] - m.tyre - 0.12, foot + deep, soft=0.25)
    rear = box(f.axles[1] + m.tyre + 0.12, foot + 0.02, end + 0.2, foot + 0.02 + deep, soft=0.25)
    return [sill, Outline(ink, front), Outline(ink, rear)]


def grille(f: Frame) -> list[Outline]:
    """Return the grille as it looks from the side: what of it reaches around the corner."""
    low = f.model.clearance
    mid = 0.5 * (f.model.nose + low)
    match f.model.grille:
        case "slats":
            return [Outline("chrome", box(-0.1, mid + y, 0.13, mid + y + 0.035)) for y in (-0.05, 0.02, 0.09)]
        case "bar":
            bar = Outline("chrome", box(-0.1, mid, 0.16, mid + 0.04))
            return [Outline("trim", box(-0.1, mid, 0.16, f.model.nose - 0.14)), bar]
        case "mouth":
            mouth = (-0.1, low + 0.08, 0.1), (0.26, low + 0.1, 0.3), (0.14, mid + 0.06, 0.4), (-0.1, mid + 0.08, 0.1)
            return [Outline("trim", smooth(*mouth))]
        case "none":
            return []


def mirror(f: Frame) -> list[Outline]:
    """Return the mirror, in front of everything else."""
    x = f.cowl + 0.24
    y = f.belt(f.cowl) + 0.01
    ink: Ink = "trim" if f.model.pillar == "black" else "paint"
    head = smooth((x, y + 0.02, 0.3), (x + 0.2, y + 0.03, 0.3), (x + 0.19, y + 0.14, 0.3), (x + 0.03, y + 0.12, 0.4))
    stalk = stroke(np.array([(x + 0.1, y - 0.03), (x + 0.12, y + 0.05)]), 0.05)
    shadow = box(x + 0.02, y + 0.02, x + 0.19, y + 0.06, soft=0.3)
    return [Outline("line", stalk, "front"), Outline(ink, head, "front"), Outline("shade", shadow, "front")]
