"""Inked shapes in metres: x from the front bumper backwards, y up from the road."""

from typing import Literal, NamedTuple

import numpy as np

Ink = Literal[
    "paint", "roof", "glass", "inside", "seat", "glare", "shade", "light", "line", "trim", "chrome", "lamp", "lens",
    "tail", "signal", "well", "tyre", "wall", "rim", "hollow",
]  # fmt: skip
Layer = Literal["behind", "body", "skin", "front"]
Knot = tuple[float, float, float]


class Shape(NamedTuple):
    """One filled outline; those of the layer `skin` are visible only within the `body` shapes."""

    ink: Ink
    points: np.ndarray
    layer: Layer = "skin"


def path(*corners: tuple[float, float]) -> np.ndarray:
    """Give straight-edged points."""
    return np.array(corners)


def smooth(*knots: Knot, steps: int = 7) -> np.ndarray:
    """Round a closed polygon's corners by quadratic Bezier arcs; a knot is (x, y, softness from 0 to 0.5)."""
    corner = np.array([knot[:2] for knot in knots])
    soft = np.array([knot[2] for knot in knots])[:, None]
    before = corner + soft * (np.roll(corner, 1, 0) - corner)
    after = corner + soft * (np.roll(corner, -1, 0) - corner)
    t = np.linspace(0, 1, steps)[:, None, None]
    return ((1 - t) ** 2 * before + 2 * t * (1 - t) * corner + t**2 * after).swapaxes(0, 1).reshape(-1, 2)


def circle(x: float, y: float, radius: float, *, steps: int = 28) -> np.ndarray:
    """Give the points of a circle."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)


def box(x0: float, y0: float, x1: float, y1: float, *, soft: float = 0.2) -> np.ndarray:
    """Give a rectangle with rounded corners."""
    return smooth((x0, y0, soft), (x1, y0, soft), (x1, y1, soft), (x0, y1, soft), steps=4)


def stroke(points: np.ndarray, width: float) -> np.ndarray:
    """Give the outline of a line of a width."""
    along = np.gradient(points, axis=0)
    normal = along[:, ::-1] * (-0.5, 0.5) * width / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    return np.vstack([points + normal, (points - normal)[::-1]])
