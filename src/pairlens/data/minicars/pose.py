"""Where the car stands in the picture, and the road under it."""

from dataclasses import dataclass, replace

import numpy as np

from pairlens.data.minicars.canvas import Canvas, Colour


@dataclass(frozen=True)
class Pose:
    """Pixels a metre, a turn in radians, a stretch of lengths (negative: mirrored), the road below the middle."""

    scale: float
    tilt: float
    stretch: float
    foot: tuple[float, float]
    middle: float  # metres behind the front bumper

    def place(self, points: np.ndarray) -> np.ndarray:
        """Carry points in metres, y up, to pixels, y down."""
        x, y = (points[:, 0] - self.middle) * self.stretch, -points[:, 1]
        cos, sin = np.cos(self.tilt) * self.scale, np.sin(self.tilt) * self.scale
        return np.stack([self.foot[0] + cos * x - sin * y, self.foot[1] + sin * x + cos * y], 1)


def strike_pose(rng: np.random.Generator, length: float, side: int) -> Pose:
    """Let a car of a length in metres fill most of a canvas, whatever its length."""
    scale = rng.uniform(0.85, 0.97) * side / length
    foot = side * rng.uniform(0.48, 0.52), side * rng.uniform(0.65, 0.73)
    stretch = rng.uniform(0.95, 1.03) * rng.choice((-1, 1))
    return Pose(scale, rng.uniform(-0.045, 0.045), stretch, foot, length / 2)


def paint_road(easel: Canvas, pose: Pose, depth: float, ground: Colour) -> None:
    """Paint the road, which leans as the car does; its measures are shares of the canvas, so they tell no length."""
    side = easel.canvas.width
    road = replace(pose, scale=float(side), middle=0.0)

    def stripe(left: float, right: float, high: float, low: float, colour: Colour, alpha: int = 255) -> None:
        corners = np.array([(left, high), (right, high), (right, low), (left, low)])
        easel.polygon(road.place(corners) / side, colour, alpha)

    stripe(-2, 2, depth, -2, ground)
    stripe(-2, 2, depth, depth - 0.025, (255, 255, 255), 70)
    if easel.rng.random() < 0.6:
        for start in np.arange(-1, 1, 0.36) + easel.rng.uniform(0, 0.36):
            stripe(start, start + 0.19, -0.105, -0.128, (250, 248, 240), 200)


def paint_shadow(easel: Canvas, pose: Pose) -> None:
    """Lay the car's shadow on the road, darker inwards, drawn aside by the sun."""
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    drift = easel.rng.uniform(-0.35, 0.35)
    for grow in (1.0, 0.95, 0.9, 0.84):
        oval = ring * (grow * pose.middle * 1.03, 0.13 * grow**2) + (pose.middle + drift * grow, 0.0)
        easel.polygon(pose.place(oval) / easel.canvas.width, (10, 14, 30), 48)
