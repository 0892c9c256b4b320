"""What hangs over the car, what stands in its way, and what stands behind it.

Each place is painted down to the horizon and a little below.
"""

import numpy as np

from pairlens.data.minicars.canvas import Canvas, Colour


def paint_sky(easel: Canvas) -> None:
    """Hang a sun or moon in the sky, and clouds."""
    rng = easel.rng
    if rng.random() < 0.5:
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.4), rng.uniform(0.03, 0.07)
        easel.disc(x, y, 1.7 * r, 1.7 * r, (255, 250, 225), 60)
        easel.disc(x, y, r, r, (255, 250, 225))
    for _ in range(rng.integers(0, 4)):
        _cloud(easel, rng.uniform(0, 1), rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.12))


def _cloud(easel: Canvas, x: float, y: float, size: float) -> None:
    """A flat-footed cloud."""
    for dx, dy, r in ((-0.9, 0.1, 0.4), (-0.25, -0.1, 0.6), (0.5, 0.0, 0.5), (1.1, 0.15, 0.35)):
        easel.disc(x + dx * size, y + dy * size, 1.15 * r * size, r * size, (255, 255, 255))
    easel.box(x - 0.95 * size, y + 0.15 * size, x + 1.15 * size, y + 0.5 * size, (255, 255, 255))


def paint_foreground(easel: Canvas, ground: float) -> None:
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


def _post(easel: Canvas, foot: float) -> None:
    x, half = easel.rng.uniform(0.05, 0.95), easel.rng.uniform(0.010, 0.022)
    easel.box(x - half, 0, x + half, foot + 0.05, easel.one(((60, 66, 76), (170, 172, 176))))
    easel.box(x - 2 * half, foot, x + 2 * half, foot + 0.06, (52, 56, 66))


def _grass(easel: Canvas, foot: float) -> None:
    for x in easel.rng.uniform(0, 1, 26):
        tip = x + easel.rng.uniform(-0.03, 0.03), foot - easel.rng.uniform(0.04, 0.16)
        easel.polygon(np.array([(x, foot + 0.3), tip, (x + 0.022, foot + 0.3)]), easel.one(((96, 150, 80),)))
    easel.box(0, foot + 0.03, 1, 1, (92, 146, 78))


def _cones(easel: Canvas, foot: float) -> None:
    cone = np.array([(0, -0.13), (0.04, 0), (-0.04, 0)])
    band = np.array([(-0.014, -0.084), (0.014, -0.084), (0.024, -0.05), (-0.024, -0.05)])
    for x in easel.rng.uniform(0.05, 0.95, 2):
        easel.polygon(np.add(cone, (x, foot)), (240, 112, 50))
        easel.polygon(np.add(band, (x, foot)), (250, 246, 240))


def _leaves(easel: Canvas) -> None:
    for x, y in easel.rng.uniform(0, 1, (24, 2)):
        easel.disc(x, y, 0.010, 0.006, easel.one(((214, 140, 60), (196, 92, 60))))


def paint_place(easel: Canvas, horizon: float) -> Colour:
    """Paint one of the places behind the road; give the ground's colour."""
    place = _PLACES[easel.rng.integers(len(_PLACES))]
    return place(easel, horizon)


def _city(easel: Canvas, horizon: float) -> Colour:
    far, near = ((156, 168, 190), (176, 178, 198)), ((104, 112, 140), (132, 104, 112), (92, 124, 138))
    for depth, colours in enumerate((far, near)):
        x = easel.rng.uniform(-0.1, 0)
        while x < 1:
            wide, high = easel.rng.uniform(0.08, 0.2), easel.rng.uniform(0.15, 0.5 - 0.15 * depth)
            easel.box(x, horizon - high, x + wide - 0.008, horizon + 0.2, easel.one(colours))
            if depth:
                _floors(easel, x, horizon - high, wide, high)
            x += wide
    return easel.one(((96, 100, 110), (120, 122, 128)))


def _floors(easel: Canvas, x: float, top: float, wide: float, high: float) -> None:
    """Rows of windows, drawn as broken bands."""
    pane: Colour = (255, 226, 150) if easel.hour.lit else (206, 222, 232)
    for y in np.arange(top + 0.03, top + high - 0.02, 0.045):
        left = x + 0.015
        for _ in range(3):
            wideness = easel.rng.uniform(0.01, 0.045)
            if left + wideness < x + wide - 0.02:
                easel.box(left, y, left + wideness, y + 0.018, pane, 190)
            left += wideness + 0.014


def _street(easel: Canvas, horizon: float) -> Colour:
    """A row of gabled houses."""
    walls = ((232, 190, 150), (206, 120, 100), (238, 222, 190), (150, 176, 186), (196, 204, 160), (222, 160, 160))
    pane: Colour = (255, 224, 140) if easel.hour.lit else (96, 116, 140)
    x = easel.rng.uniform(-0.2, 0)
    while x < 1:
        wide, high = easel.rng.uniform(0.2, 0.32), easel.rng.uniform(0.24, 0.42)
        top = horizon - high
        easel.box(x, top, x + wide, horizon + 0.2, easel.one(walls))
        gable = [(x - 0.01, top), (x + 0.5 * wide, top - easel.rng.uniform(0.05, 0.16)), (x + wide + 0.01, top)]
        easel.polygon(np.array(gable), easel.one(((120, 70, 62), (82, 86, 100), (150, 96, 70))))
        for column in (0.16, 0.44, 0.72):
            for row in (0.04, 0.15):
                left = x + column * wide
                easel.box(left - 0.006, top + row - 0.006, left + 0.046, top + row + 0.071, (245, 243, 238))
                easel.box(left, top + row, left + 0.04, top + row + 0.065, pane)
        x += wide + easel.rng.choice((0.0, 0.0, 0.04))
    return easel.one(((110, 110, 116), (150, 140, 130)))


def _hills(easel: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((150, 190, 160), (112, 170, 112), (82, 146, 88))):
        _slope(easel, horizon, 0.24 - 0.07 * depth, easel.one((colour,)))
    _trees(easel, horizon, 5)
    return easel.one(((120, 124, 122), (150, 144, 128)))


def _park(easel: Canvas, horizon: float) -> Colour:
    easel.box(0, horizon - 0.08, 1, 1, (134, 188, 104))
    _trees(easel, horizon, 9)
    return easel.one(((140, 140, 142), (196, 184, 158)))


def _trees(easel: Canvas, horizon: float, count: int) -> None:
    greens = ((92, 150, 84), (70, 130, 84), (124, 164, 76), (206, 140, 70))
    for x in easel.rng.uniform(0, 1, count):
        size, colour = easel.rng.uniform(0.05, 0.13), easel.one(greens)
        easel.box(x - 0.1 * size, horizon - 1.6 * size, x + 0.1 * size, horizon + 0.1, (110, 82, 62))
        easel.disc(x, horizon - 2.1 * size, 0.8 * size, size, colour)
        easel.disc(x - 0.25 * size, horizon - 2.3 * size, 0.4 * size, 0.5 * size, (255, 255, 255), 36)


def _slope(easel: Canvas, base: float, height: float, colour: Colour) -> None:
    """A rolling hill across the picture."""
    x, phase = np.linspace(0, 1, 33), easel.rng.uniform(0, 6.3, 2)
    y = 0.55 + 0.28 * np.sin(5 * x + phase[0]) + 0.17 * np.sin(11 * x + phase[1])
    easel.polygon(np.vstack([np.stack([x, base - height * y], 1), [(1, base + 0.2), (0, base + 0.2)]]), colour)


def _mountains(easel: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((168, 182, 208), (124, 142, 176), (84, 108, 120))):
        x = np.linspace(0, 1, 13)
        y = np.interp(x, np.linspace(0, 1, 7), easel.rng.uniform(0.25, 1, 7)) * easel.rng.uniform(0.7, 1, 13)
        crest = np.stack([x, horizon - (0.40 - 0.12 * depth) * y], 1)
        easel.polygon(np.vstack([crest, [(1, horizon + 0.2), (0, horizon + 0.2)]]), easel.one((colour,)))
        if depth == 0:
            _snow(easel, crest)
    return easel.one(((118, 122, 128), (136, 140, 120)))


def _snow(easel: Canvas, crest: np.ndarray) -> None:
    for i in range(1, len(crest) - 1):
        if crest[i, 1] < min(crest[i - 1, 1], crest[i + 1, 1]):
            cap = crest[i] + 0.3 * (crest[[i, i + 1, i, i - 1]] - crest[i])
            cap[2] += (0, 0.02)
            easel.polygon(cap, (246, 248, 252))


def _sea(easel: Canvas, horizon: float) -> Colour:
    line = horizon - easel.rng.uniform(0.1, 0.22)
    easel.box(0, line, 1, horizon + 0.2, easel.one(((52, 132, 172), (72, 164, 176))))
    for _ in range(14):
        x, y = easel.rng.uniform(0, 1), easel.rng.uniform(line + 0.01, horizon)
        easel.box(x, y, x + easel.rng.uniform(0.03, 0.12), y + 0.005, (255, 255, 255), 110)
    for x in easel.rng.uniform(0.05, 0.95, easel.rng.integers(0, 4)):
        mast = easel.rng.uniform(0.05, 0.14)
        easel.polygon(np.array([(x, line - mast), (x, line), (x + 0.5 * mast, line)]), (250, 248, 240))
        hull = [(x - 0.3 * mast, line), (x + 0.55 * mast, line), (x + 0.4 * mast, line + 0.14 * mast)]
        easel.polygon(np.array(hull), (150, 70, 60))
    return easel.one(((226, 204, 160), (140, 136, 132)))


def _forest(easel: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((128, 168, 156), (76, 128, 108), (44, 92, 76))):
        count = 13 - 2 * depth
        for x in np.linspace(0, 1, count) + easel.rng.uniform(-0.04, 0.04, count):
            high, wide = easel.rng.uniform(0.2, 0.34) * (1.5 - 0.25 * depth), easel.rng.uniform(0.035, 0.06)
            for share in (1.0, 0.68):
                tip = horizon + 0.03 - high
                foot = tip + high * share
                easel.polygon(np.array([(x, tip), (x + wide * share, foot), (x - wide * share, foot)]), colour)
        easel.box(0, horizon - 0.02, 1, horizon + 0.2, colour)
    return easel.one(((128, 120, 104), (104, 112, 100)))


def _desert(easel: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((232, 170, 128), (222, 148, 100), (206, 132, 88))):
        _slope(easel, horizon, 0.26 - 0.08 * depth, easel.one((colour,)))
    for x in easel.rng.uniform(0, 1, 4):
        high, w = easel.rng.uniform(0.1, 0.24), 0.013
        green = easel.one(((92, 132, 84),))
        easel.box(x - w, horizon - high, x + w, horizon + 0.05, green)
        easel.box(x - 0.05, horizon - 0.7 * high, x - 0.034, horizon - 0.4 * high, green)
        easel.box(x - 0.05, horizon - 0.42 * high, x, horizon - 0.36 * high, green)
    return easel.one(((222, 180, 128), (128, 116, 108)))


def _studio(easel: Canvas, horizon: float) -> Colour:
    sheets = ((226, 226, 228), (244, 208, 112), (240, 150, 130), (130, 190, 190), (96, 104, 124), (214, 196, 226))
    sheet = easel.one(sheets)
    easel.box(0, 0, 1, 1, sheet)
    for _ in range(easel.rng.integers(1, 4)):
        x, y, r = easel.rng.uniform(0.1, 0.9), easel.rng.uniform(0.1, 0.6), easel.rng.uniform(0.1, 0.4)
        easel.disc(x, y, r, r, easel.one(((255, 255, 255), (0, 0, 0), (250, 120, 90))), 40)
    easel.box(0, horizon - 0.002, 1, horizon + 0.002, (255, 255, 255), 90)
    r, g, b = (int(0.86 * c) for c in sheet)
    return r, g, b


def _wall(easel: Canvas, horizon: float) -> Colour:
    colour = easel.one(((178, 92, 76), (214, 196, 170), (92, 128, 140), (200, 150, 90), (120, 120, 128)))
    easel.box(0, 0, 1, 1, colour)
    for row, y in enumerate(np.arange(0, horizon, 0.045)):
        easel.box(0, y, 1, y + 0.004, (0, 0, 0), 34)
        for x in np.arange(0.06 * (row % 2), 1, 0.12):
            easel.box(x, y, x + 0.004, y + 0.045, (0, 0, 0), 34)
    for x in easel.rng.uniform(0, 0.85, 3):
        _poster(easel, x)
    return easel.one(((128, 126, 126), (168, 160, 150)))


def _poster(easel: Canvas, x: float) -> None:
    y, wide, high = easel.rng.uniform(0.05, 0.35), easel.rng.uniform(0.08, 0.3), easel.rng.uniform(0.12, 0.4)
    card = easel.one(((40, 48, 64), (240, 236, 226), (236, 180, 60), (70, 140, 120), (224, 96, 84)))
    easel.box(x - 0.01, y - 0.01, x + wide + 0.01, y + high + 0.01, (245, 243, 238))
    easel.box(x, y, x + wide, y + high, card)
    spot = easel.one(((255, 255, 255), (30, 30, 40)))
    easel.disc(x + 0.5 * wide, y + 0.5 * high, 0.3 * wide, 0.3 * wide, spot, 120)


_PLACES = (_city, _street, _hills, _mountains, _sea, _forest, _desert, _studio, _wall, _park)
