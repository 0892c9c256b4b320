"""Sky, background and foreground of a picture, all random and independent of the car.

Backgrounds reach from the sky to a little below the horizon, where the road covers them. Each function uses the random
generator of the canvas; the order of the random numbers defines the data set, so no call may be added, removed or moved.
"""

import numpy as np

from pairlens.data.minicars.canvas import Canvas, Colour


def paint_sky(canvas: Canvas) -> None:
    """Paint a sun or moon in half of the pictures, and up to three clouds."""
    rng = canvas.rng
    if rng.random() < 0.5:
        x = rng.uniform(0.1, 0.9)
        y = rng.uniform(0.08, 0.4)
        r = rng.uniform(0.03, 0.07)
        # A translucent halo, then the disc.
        canvas.ellipse(x, y, 1.7 * r, 1.7 * r, (255, 250, 225), 60)
        canvas.ellipse(x, y, r, r, (255, 250, 225))
    for _ in range(rng.integers(0, 4)):
        _cloud(canvas, rng.uniform(0, 1), rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.12))


def _cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    # Four ellipses on a flat base.
    for dx, dy, r in ((-0.9, 0.1, 0.4), (-0.25, -0.1, 0.6), (0.5, 0.0, 0.5), (1.1, 0.15, 0.35)):
        canvas.ellipse(x + dx * size, y + dy * size, 1.15 * r * size, r * size, (255, 255, 255))
    canvas.box(x - 0.95 * size, y + 0.15 * size, x + 1.15 * size, y + 0.5 * size, (255, 255, 255))


def paint_foreground(canvas: Canvas, ground: float) -> None:
    """Paint an object in front of the car in four of ten pictures: a post, grass, traffic cones or leaves."""
    foot = ground + canvas.rng.uniform(0.06, 0.12)
    match canvas.rng.integers(10):
        case 0:
            _post(canvas, foot)
        case 1:
            _grass(canvas, foot)
        case 2:
            _cones(canvas, foot)
        case 3:
            _leaves(canvas)
        case _:
            pass


def _post(canvas: Canvas, foot: float) -> None:
    x = canvas.rng.uniform(0.05, 0.95)
    half = canvas.rng.uniform(0.010, 0.022)
    canvas.box(x - half, 0, x + half, foot + 0.05, canvas.pick(((60, 66, 76), (170, 172, 176))))
    canvas.box(x - 2 * half, foot, x + 2 * half, foot + 0.06, (52, 56, 66))


def _grass(canvas: Canvas, foot: float) -> None:
    for x in canvas.rng.uniform(0, 1, 26):
        tip = (x + canvas.rng.uniform(-0.03, 0.03), foot - canvas.rng.uniform(0.04, 0.16))
        canvas.polygon(np.array([(x, foot + 0.3), tip, (x + 0.022, foot + 0.3)]), canvas.pick(((96, 150, 80),)))
    canvas.box(0, foot + 0.03, 1, 1, (92, 146, 78))


def _cones(canvas: Canvas, foot: float) -> None:
    cone = np.array([(0, -0.13), (0.04, 0), (-0.04, 0)])
    band = np.array([(-0.014, -0.084), (0.014, -0.084), (0.024, -0.05), (-0.024, -0.05)])
    for x in canvas.rng.uniform(0.05, 0.95, 2):
        canvas.polygon(np.add(cone, (x, foot)), (240, 112, 50))
        canvas.polygon(np.add(band, (x, foot)), (250, 246, 240))


def _leaves(canvas: Canvas) -> None:
    for x, y in canvas.rng.uniform(0, 1, (24, 2)):
        canvas.ellipse(x, y, 0.010, 0.006, canvas.pick(((214, 140, 60), (196, 92, 60))))


def paint_background(canvas: Canvas, horizon: float) -> Colour:
    """Paint one of ten backgrounds behind the road; return the colour of the ground."""
    background = _BACKGROUNDS[canvas.rng.integers(len(_BACKGROUNDS))]
    return background(canvas, horizon)


def _city(canvas: Canvas, horizon: float) -> Colour:
    far = ((156, 168, 190), (176, 178, 198))
    near = ((104, 112, 140), (132, 104, 112), (92, 124, 138))
    # Two rows of towers; only the near one is close enough for windows.
    for depth, colours in enumerate((far, near)):
        x = canvas.rng.uniform(-0.1, 0)
        while x < 1:
            wide = canvas.rng.uniform(0.08, 0.2)
            high = canvas.rng.uniform(0.15, 0.5 - 0.15 * depth)
            canvas.box(x, horizon - high, x + wide - 0.008, horizon + 0.2, canvas.pick(colours))
            if depth:
                _windows(canvas, x, horizon - high, wide, high)
            x += wide
    return canvas.pick(((96, 100, 110), (120, 122, 128)))


def _windows(canvas: Canvas, x: float, top: float, wide: float, high: float) -> None:
    """Paint the windows of a tower: up to three bands of random width per floor."""
    pane: Colour = (255, 226, 150) if canvas.time_of_day.lamps_on else (206, 222, 232)
    for y in np.arange(top + 0.03, top + high - 0.02, 0.045):
        left = x + 0.015
        for _ in range(3):
            width = canvas.rng.uniform(0.01, 0.045)
            if left + width < x + wide - 0.02:
                canvas.box(left, y, left + width, y + 0.018, pane, 190)
            left += width + 0.014


def _street(canvas: Canvas, horizon: float) -> Colour:
    """Paint a row of houses with gables."""
    walls = ((232, 190, 150), (206, 120, 100), (238, 222, 190), (150, 176, 186), (196, 204, 160), (222, 160, 160))
    pane: Colour = (255, 224, 140) if canvas.time_of_day.lamps_on else (96, 116, 140)
    x = canvas.rng.uniform(-0.2, 0)
    while x < 1:
        wide = canvas.rng.uniform(0.2, 0.32)
        high = canvas.rng.uniform(0.24, 0.42)
        top = horizon - high
        canvas.box(x, top, x + wide, horizon + 0.2, canvas.pick(walls))
        gable = [(x - 0.01, top), (x + 0.5 * wide, top - canvas.rng.uniform(0.05, 0.16)), (x + wide + 0.01, top)]
        canvas.polygon(np.array(gable), canvas.pick(((120, 70, 62), (82, 86, 100), (150, 96, 70))))
        for column in (0.16, 0.44, 0.72):
            for row in (0.04, 0.15):
                # A white frame, then the pane.
                left = x + column * wide
                canvas.box(left - 0.006, top + row - 0.006, left + 0.046, top + row + 0.071, (245, 243, 238))
                canvas.box(left, top + row, left + 0.04, top + row + 0.065, pane)
        # One of three houses is followed by a gap.
        x += wide + canvas.rng.choice((0.0, 0.0, 0.04))
    return canvas.pick(((110, 110, 116), (150, 140, 130)))


def _hills(canvas: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((150, 190, 160), (112, 170, 112), (82, 146, 88))):
        _slope(canvas, horizon, 0.24 - 0.07 * depth, canvas.pick((colour,)))
    _trees(canvas, horizon, 5)
    return canvas.pick(((120, 124, 122), (150, 144, 128)))


def _park(canvas: Canvas, horizon: float) -> Colour:
    canvas.box(0, horizon - 0.08, 1, 1, (134, 188, 104))
    _trees(canvas, horizon, 9)
    return canvas.pick(((140, 140, 142), (196, 184, 158)))


def _trees(canvas: Canvas, horizon: float, count: int) -> None:
    greens = ((92, 150, 84), (70, 130, 84), (124, 164, 76), (206, 140, 70))
    for x in canvas.rng.uniform(0, 1, count):
        size = canvas.rng.uniform(0.05, 0.13)
        colour = canvas.pick(greens)
        canvas.box(x - 0.1 * size, horizon - 1.6 * size, x + 0.1 * size, horizon + 0.1, (110, 82, 62))
        # The crown, and light on its upper left.
        canvas.ellipse(x, horizon - 2.1 * size, 0.8 * size, size, colour)
        canvas.ellipse(x - 0.25 * size, horizon - 2.3 * size, 0.4 * size, 0.5 * size, (255, 255, 255), 36)


def _slope(canvas: Canvas, base: float, height: float, colour: Colour) -> None:
    """Paint a hill across the picture, its crest a sum of two sine waves with random phases."""
    x = np.linspace(0, 1, 33)
    phase = canvas.rng.uniform(0, 6.3, 2)
    y = 0.55 + 0.28 * np.sin(5 * x + phase[0]) + 0.17 * np.sin(11 * x + phase[1])
    crest = np.stack([x, base - height * y], 1)  # (33, 2)
    canvas.polygon(np.vstack([crest, [(1, base + 0.2), (0, base + 0.2)]]), colour)


def _mountains(canvas: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((168, 182, 208), (124, 142, 176), (84, 108, 120))):
        # Seven random peaks; the points between them are interpolated and roughened.
        x = np.linspace(0, 1, 13)
        y = np.interp(x, np.linspace(0, 1, 7), canvas.rng.uniform(0.25, 1, 7)) * canvas.rng.uniform(0.7, 1, 13)
        crest = np.stack([x, horizon - (0.40 - 0.12 * depth) * y], 1)
        canvas.polygon(np.vstack([crest, [(1, horizon + 0.2), (0, horizon + 0.2)]]), canvas.pick((colour,)))
        if depth == 0:
            _snow(canvas, crest)
    return canvas.pick(((118, 122, 128), (136, 140, 120)))


def _snow(canvas: Canvas, crest: np.ndarray) -> None:
    # y grows downwards, so a peak has a smaller y than its neighbours.
    for i in range(1, len(crest) - 1):
        if crest[i, 1] < min(crest[i - 1, 1], crest[i + 1, 1]):
            # The peak, 30 % of the way down both slopes, and between these a point below the peak.
            cap = crest[i] + 0.3 * (crest[[i, i + 1, i, i - 1]] - crest[i])
            cap[2] += (0, 0.02)
            canvas.polygon(cap, (246, 248, 252))


def _sea(canvas: Canvas, horizon: float) -> Colour:
    line = horizon - canvas.rng.uniform(0.1, 0.22)
    canvas.box(0, line, 1, horizon + 0.2, canvas.pick(((52, 132, 172), (72, 164, 176))))
    # Waves.
    for _ in range(14):
        x = canvas.rng.uniform(0, 1)
        y = canvas.rng.uniform(line + 0.01, horizon)
        canvas.box(x, y, x + canvas.rng.uniform(0.03, 0.12), y + 0.005, (255, 255, 255), 110)
    # Up to three sailing boats.
    for x in canvas.rng.uniform(0.05, 0.95, canvas.rng.integers(0, 4)):
        mast = canvas.rng.uniform(0.05, 0.14)
        canvas.polygon(np.array([(x, line - mast), (x, line), (x + 0.5 * mast, line)]), (250, 248, 240))
        hull = [(x - 0.3 * mast, line), (x + 0.55 * mast, line), (x + 0.4 * mast, line + 0.14 * mast)]
        canvas.polygon(np.array(hull), (150, 70, 60))
    return canvas.pick(((226, 204, 160), (140, 136, 132)))


def _forest(canvas: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((128, 168, 156), (76, 128, 108), (44, 92, 76))):
        count = 13 - 2 * depth
        for x in np.linspace(0, 1, count) + canvas.rng.uniform(-0.04, 0.04, count):
            high = canvas.rng.uniform(0.2, 0.34) * (1.5 - 0.25 * depth)
            wide = canvas.rng.uniform(0.035, 0.06)
            # A fir tree: a large triangle and a smaller one on top.
            for share in (1.0, 0.68):
                tip = horizon + 0.03 - high
                foot = tip + high * share
                canvas.polygon(np.array([(x, tip), (x + wide * share, foot), (x - wide * share, foot)]), colour)
        canvas.box(0, horizon - 0.02, 1, horizon + 0.2, colour)
    return canvas.pick(((128, 120, 104), (104, 112, 100)))


def _desert(canvas: Canvas, horizon: float) -> Colour:
    for depth, colour in enumerate(((232, 170, 128), (222, 148, 100), (206, 132, 88))):
        _slope(canvas, horizon, 0.26 - 0.08 * depth, canvas.pick((colour,)))
    for x in canvas.rng.uniform(0, 1, 4):
        # A cactus with one arm.
        high = canvas.rng.uniform(0.1, 0.24)
        w = 0.013
        green = canvas.pick(((92, 132, 84),))
        canvas.box(x - w, horizon - high, x + w, horizon + 0.05, green)
        canvas.box(x - 0.05, horizon - 0.7 * high, x - 0.034, horizon - 0.4 * high, green)
        canvas.box(x - 0.05, horizon - 0.42 * high, x, horizon - 0.36 * high, green)
    return canvas.pick(((222, 180, 128), (128, 116, 108)))


def _studio(canvas: Canvas, horizon: float) -> Colour:
    backdrops = ((226, 226, 228), (244, 208, 112), (240, 150, 130), (130, 190, 190), (96, 104, 124), (214, 196, 226))
    backdrop = canvas.pick(backdrops)
    canvas.box(0, 0, 1, 1, backdrop)
    for _ in range(canvas.rng.integers(1, 4)):
        x = canvas.rng.uniform(0.1, 0.9)
        y = canvas.rng.uniform(0.1, 0.6)
        r = canvas.rng.uniform(0.1, 0.4)
        canvas.ellipse(x, y, r, r, canvas.pick(((255, 255, 255), (0, 0, 0), (250, 120, 90))), 40)
    canvas.box(0, horizon - 0.002, 1, horizon + 0.002, (255, 255, 255), 90)
    # The floor is the backdrop in shadow.
    red, green, blue = (int(0.86 * level) for level in backdrop)
    return red, green, blue


def _wall(canvas: Canvas, horizon: float) -> Colour:
    colour = canvas.pick(((178, 92, 76), (214, 196, 170), (92, 128, 140), (200, 150, 90), (120, 120, 128)))
    canvas.box(0, 0, 1, 1, colour)
    # Joints of bricks; every second row is shifted by half a brick.
    for row, y in enumerate(np.arange(0, horizon, 0.045)):
        canvas.box(0, y, 1, y + 0.004, (0, 0, 0), 34)
        for x in np.arange(0.06 * (row % 2), 1, 0.12):
            canvas.box(x, y, x + 0.004, y + 0.045, (0, 0, 0), 34)
    for x in canvas.rng.uniform(0, 0.85, 3):
        _poster(canvas, x)
    return canvas.pick(((128, 126, 126), (168, 160, 150)))


def _poster(canvas: Canvas, x: float) -> None:
    y = canvas.rng.uniform(0.05, 0.35)
    wide = canvas.rng.uniform(0.08, 0.3)
    high = canvas.rng.uniform(0.12, 0.4)
    card = canvas.pick(((40, 48, 64), (240, 236, 226), (236, 180, 60), (70, 140, 120), (224, 96, 84)))
    canvas.box(x - 0.01, y - 0.01, x + wide + 0.01, y + high + 0.01, (245, 243, 238))
    canvas.box(x, y, x + wide, y + high, card)
    spot = canvas.pick(((255, 255, 255), (30, 30, 40)))
    canvas.ellipse(x + 0.5 * wide, y + 0.5 * high, 0.3 * wide, 0.3 * wide, spot, 120)


_BACKGROUNDS = (_city, _street, _hills, _mountains, _sea, _forest, _desert, _studio, _wall, _park)
