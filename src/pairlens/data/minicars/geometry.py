"""Shapes in metres and the construction lines of a car.

x runs from the front bumper to the rear, y from the road upwards.
"""

from typing import Literal, NamedTuple

import numpy as np

from pairlens.data.minicars.car_models import CarModel

# What a shape is made of; `car._colours` chooses the colour of each ink for a shot.
Ink = Literal[
    "paint", "roof", "glass", "inside", "seat", "glare", "shade", "light", "line", "trim", "chrome", "lamp", "lens",
    "tail", "signal", "well", "tyre", "wall", "rim", "hollow",
]  # fmt: skip
Layer = Literal["behind", "body", "skin", "front"]
# A corner of a rounded polygon: x, y and softness, from 0 (sharp) to 0.5 (round up to the middle of its edges).
Knot = tuple[float, float, float]


class Outline(NamedTuple):
    """A filled polygon of (point, 2); shapes of the layer "skin" are visible only inside those of the layer "body"."""

    ink: Ink
    points: np.ndarray
    layer: Layer = "skin"


def path(*corners: tuple[float, float]) -> np.ndarray:
    """Return a polygon with straight edges, (corner, 2)."""
    return np.array(corners)


def smooth(*knots: Knot, steps: int = 7) -> np.ndarray:
    """Return a closed polygon whose corners are rounded by quadratic Bezier arcs, (knot * steps, 2)."""
    corner = np.array([knot[:2] for knot in knots])
    soft = np.array([knot[2] for knot in knots])[:, None]
    # An arc leaves the edge to the previous corner and joins the edge to the next one.
    before = corner + soft * (np.roll(corner, 1, 0) - corner)
    after = corner + soft * (np.roll(corner, -1, 0) - corner)
    t = np.linspace(0, 1, steps)[:, None, None]
    arcs = (1 - t) ** 2 * before + 2 * t * (1 - t) * corner + t**2 * after  # (step, knot, 2)
    return arcs.swapaxes(0, 1).reshape(-1, 2)


def circle(x: float, y: float, radius: float, *, steps: int = 28) -> np.ndarray:
    """Return a circle as a polygon of (steps, 2)."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)


def box(x0: float, y0: float, x1: float, y1: float, *, soft: float = 0.2) -> np.ndarray:
    """Return a rectangle with rounded corners."""
    return smooth((x0, y0, soft), (x1, y0, soft), (x1, y1, soft), (x0, y1, soft), steps=4)


def stroke(points: np.ndarray, width: float) -> np.ndarray:
    """Return the outline of a line through (point, 2) with a width in metres."""
    along = np.gradient(points, axis=0)
    # The direction (dx, dy) turned by 90 degrees is (-dy, dx). The small term avoids 0/0 where two points are equal.
    normal = along[:, ::-1] * (-0.5, 0.5) * width / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    # Along one side and back along the other.
    return np.vstack([points + normal, (points - normal)[::-1]])


class Frame:
    """The construction lines of a car model in metres, by which its parts are positioned.

    Attributes:
        model: the car model.
        cowl, screen, roof, deck: x of the lower and upper end of the windscreen, the end of the roof, the rear deck.
        axles: x of the two axles.
        roof_y: height at the end of the roof.
        belt_y: height of the lower edge of the windows at the cowl.
        crown: the highest point of the roof, (x, y).
        outline: the body as a polygon, (point, 2).
    """

    def __init__(self, model: CarModel) -> None:
        """Compute the lines of a model."""
        m = model
        span = model.length
        self.model = m
        self.cowl = m.cowl_x * span
        self.screen = m.screen_x * span
        self.roof = m.roof_x * span
        self.deck = m.deck_x * span
        self.axles = (m.front, m.front + m.wheelbase)
        self.roof_y = m.height - m.roof_drop
        self.belt_y = m.cowl_y + 0.01
        self.crown = (0.5 * (self.screen + self.roof), m.height + 0.02)
        self.outline = smooth(*self._knots())
        self._skyline = self._upper(self.outline)

    def belt(self, x: float) -> float:
        """Return the height of the lower edge of the windows at x."""
        return self.belt_y + self.model.belt_rise * (x - self.cowl) / (self.deck - self.cowl)

    def top(self, x: float) -> float:
        """Return the height of the upper edge of the body at x."""
        return float(np.interp(x, self._skyline[:, 0], self._skyline[:, 1]))

    def _knots(self) -> list[Knot]:
        """Return the corners of the body, from the front bumper over the roof to the rear."""
        m = self.model
        soft = m.softness
        nose = [
            (0.10, m.clearance, 0.25),
            (0.0, m.clearance + 0.12, 0.4 * soft),
            (-0.01, 0.6 * m.nose, 0.4),
            (0.05, m.nose - 0.06, 0.45 * soft),
            (0.22, m.nose + 0.01, 0.45 * soft),
            (0.55 * self.cowl + 0.1, 0.45 * m.nose + 0.55 * m.cowl_y + m.bonnet_bow, 0.45),
        ]
        tail = [
            (m.length - 0.03, m.tail_y, 0.4 * soft),
            (m.length + 0.01, 0.62 * m.tail_y, 0.35),
            (m.length - 0.01, m.clearance + 0.16, 0.4 * soft),
            (m.length - 0.12, m.clearance + 0.02, 0.25),
        ]
        return nose + self._cabin() + tail

    def _cabin(self) -> list[Knot]:
        m = self.model
        if m.body == "roadster":
            # An open car: from the windscreen straight to the rear deck.
            dip = m.cowl_y - 0.03
            return [(self.cowl, m.cowl_y, 0.3), (self.screen, dip, 0.4), (self.deck, m.deck_y + 0.02, 0.45)]
        roof = [
            (self.cowl, m.cowl_y, 0.16),
            (self.screen, m.height - 0.6 * m.roof_drop, 0.36),
            (*self.crown, 0.5),
            (self.roof, self.roof_y, 0.38),
        ]
        return [*roof, (self.deck, m.deck_y, 0.08 if m.body == "pickup" else 0.25)]

    def _upper(self, outline: np.ndarray) -> np.ndarray:
        """Return the points of the upper edge of the body, sorted by x for interpolation."""
        upper = outline[outline[:, 1] > 0.62 * self.model.nose]
        return upper[np.argsort(upper[:, 0], kind="stable")]
