"""Position of the car in the picture, and the road and the shadow under it."""

from dataclasses import dataclass, replace

import numpy as np

from pairlens.data.minicars.canvas import Canvas, Colour


@dataclass(frozen=True)
class Pose:
    """The map from metres on the car to pixels.

    Attributes:
        scale: pixels per metre.
        tilt: rotation in radians.
        stretch: factor on the length of the car; negative if the car is mirrored.
        origin: the pixel (x, y) on the road below the middle of the car.
        middle: distance of the middle of the car from the front bumper, in metres.
    """

    scale: float
    tilt: float
    stretch: float
    origin: tuple[float, float]
    middle: float

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map (point, 2) positions in metres, y up from the road, to pixels, y down."""
        x = (points[:, 0] - self.middle) * self.stretch
        y = -points[:, 1]
        cos = np.cos(self.tilt) * self.scale
        sin = np.sin(self.tilt) * self.scale
        return np.stack([self.origin[0] + cos * x - sin * y, self.origin[1] + sin * x + cos * y], 1)


def random_pose(rng: np.random.Generator, length: float, side: int) -> Pose:
    """Return a random pose in which a car fills most of a canvas of `side` pixels."""
    # The scale is divided by the length, so the size of the car in the picture says nothing about its model.
    scale = rng.uniform(0.85, 0.97) * side / length
    origin = (side * rng.uniform(0.48, 0.52), side * rng.uniform(0.65, 0.73))
    stretch = rng.uniform(0.95, 1.03) * rng.choice((-1, 1))
    return Pose(scale, rng.uniform(-0.045, 0.045), stretch, origin, length / 2)


def paint_road(canvas: Canvas, pose: Pose, depth: float, ground: Colour) -> None:
    """Paint the road, tilted like the car, with an edge and perhaps a broken line."""
    side = canvas.image.width
    # In units of the canvas and not of the car, so the road says nothing about the length of the car.
    road = replace(pose, scale=float(side), middle=0.0)

    def stripe(left: float, right: float, top: float, bottom: float, colour: Colour, alpha: int = 255) -> None:
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        canvas.polygon(road.to_pixels(corners) / side, colour, alpha)

    # From -2 to 2: a tilted or mirrored road still reaches beyond all edges of the picture.
    stripe(-2, 2, depth, -2, ground)
    stripe(-2, 2, depth, depth - 0.025, (255, 255, 255), 70)
    if canvas.rng.random() < 0.6:
        for start in np.arange(-1, 1, 0.36) + canvas.rng.uniform(0, 0.36):
            stripe(start, start + 0.19, -0.105, -0.128, (250, 248, 240), 200)


def paint_shadow(canvas: Canvas, pose: Pose) -> None:
    """Paint the shadow of the car on the road, shifted by the sun."""
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    unit_circle = np.stack([np.cos(angle), np.sin(angle)], 1)  # (30, 2)
    shift = canvas.rng.uniform(-0.35, 0.35)
    # Four translucent ellipses, each smaller than the last, make the shadow darker towards its middle.
    for size in (1.0, 0.95, 0.9, 0.84):
        ellipse = unit_circle * (size * pose.middle * 1.03, 0.13 * size**2) + (pose.middle + shift * size, 0.0)
        canvas.polygon(pose.to_pixels(ellipse) / canvas.image.width, (10, 14, 30), 48)
