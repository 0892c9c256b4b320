"""The canvas, and the light of an hour on it."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Shade = tuple[int, int, int, int]


class Hour(NamedTuple):
    """The sky's two colours, the light on things (a factor for each channel), and whether lamps are lit."""

    zenith: Colour
    horizon: Colour
    light: tuple[float, float, float]
    lit: bool


HOURS: tuple[Hour, ...] = (
    Hour((84, 168, 226), (212, 237, 245), (1.0, 1.0, 1.0), False),
    Hour((120, 190, 214), (246, 236, 214), (1.02, 0.99, 0.94), False),
    Hour((238, 148, 104), (255, 222, 158), (1.05, 0.90, 0.76), False),
    Hour((164, 178, 190), (222, 227, 230), (0.88, 0.91, 0.95), False),
    Hour((70, 62, 122), (240, 146, 140), (0.80, 0.68, 0.80), True),
    Hour((18, 26, 60), (66, 84, 136), (0.48, 0.53, 0.74), True),
)


@dataclass(frozen=True)
class Canvas:
    """A square canvas addressed in shares of its side, under the light of an hour; y grows downwards."""

    canvas: Image.Image
    hour: Hour
    rng: np.random.Generator
    opaque: ImageDraw.ImageDraw
    sheer: ImageDraw.ImageDraw
    haze: float = 0.0  # share of the horizon's colour in everything painted

    @classmethod
    def under(cls, hour: Hour, side: int, rng: np.random.Generator) -> Self:
        """Set up a canvas `side` pixels square, filled with the hour's sky, with a haze over what will be painted."""
        canvas = _gradient(hour, side)
        return cls(canvas, hour, rng, ImageDraw.Draw(canvas), ImageDraw.Draw(canvas, "RGBA"), rng.uniform(0.2, 0.5))

    def tone(self, colour: Colour, alpha: int = 255) -> Shade:
        """Show a colour under the hour's light, through the haze."""
        keep, haze, (r, g, b), air = 1 - self.haze, self.haze, self.hour.light, self.hour.horizon
        red, green, blue = keep * r * colour[0], keep * g * colour[1], keep * b * colour[2]
        return _byte(red + haze * air[0]), _byte(green + haze * air[1]), _byte(blue + haze * air[2]), alpha

    def polygon(self, points: np.ndarray, colour: Colour, alpha: int = 255) -> None:
        """Fill an outline."""
        self._brush(alpha).polygon((points * self.canvas.width).ravel().tolist(), fill=self.tone(colour, alpha))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, alpha: int = 255) -> None:
        """Fill a rectangle."""
        side = self.canvas.width
        bounds = (x0 * side, y0 * side, x1 * side, y1 * side)
        self._brush(alpha).rectangle(bounds, fill=self.tone(colour, alpha))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: int = 255) -> None:
        """Fill an ellipse."""
        side = self.canvas.width
        bounds = ((x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side)
        self._brush(alpha).ellipse(bounds, fill=self.tone(colour, alpha))

    def one(self, colours: tuple[Colour, ...]) -> Colour:
        """Choose a colour, a little off its card."""
        r, g, b = colours[self.rng.integers(len(colours))]
        off = self.rng.integers(-12, 13, 3).tolist()
        return _byte(r + off[0]), _byte(g + off[1]), _byte(b + off[2])

    def _brush(self, alpha: int) -> ImageDraw.ImageDraw:
        return self.opaque if alpha == 255 else self.sheer


def _byte(level: float) -> int:
    return min(255, max(0, int(level)))


def _gradient(hour: Hour, side: int) -> Image.Image:
    """Shade the sky from zenith to horizon, four bytes a pixel, as Pillow keeps RGB."""
    share = np.linspace(0, 1.25, side).clip(0, 1)[:, None]
    column = np.zeros((side, 4), np.uint8)
    column[:, :3] = np.array(hour.zenith) * (1 - share) + np.array(hour.horizon) * share
    return Image.frombytes("RGB", (side, side), np.repeat(column.view(np.uint32), side).tobytes(), "raw", "RGBX")
