"""Canvas in relative coordinates, lit by a time of day."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
ColourWithAlpha = tuple[int, int, int, int]


class TimeOfDay(NamedTuple):
    """The light of a scene.

    Attributes:
        zenith, horizon: colours of the sky.
        light: factor on the colour of every object, for red, green and blue.
        lamps_on: whether lamps and windows are lit.
    """

    zenith: Colour
    horizon: Colour
    light: tuple[float, float, float]
    lamps_on: bool


# Noon, hazy noon, evening, overcast, dusk, night.
TIMES_OF_DAY: tuple[TimeOfDay, ...] = (
    TimeOfDay((84, 168, 226), (212, 237, 245), (1.0, 1.0, 1.0), False),
    TimeOfDay((120, 190, 214), (246, 236, 214), (1.02, 0.99, 0.94), False),
    TimeOfDay((238, 148, 104), (255, 222, 158), (1.05, 0.90, 0.76), False),
    TimeOfDay((164, 178, 190), (222, 227, 230), (0.88, 0.91, 0.95), False),
    TimeOfDay((70, 62, 122), (240, 146, 140), (0.80, 0.68, 0.80), True),
    TimeOfDay((18, 26, 60), (66, 84, 136), (0.48, 0.53, 0.74), True),
)


@dataclass(frozen=True)
class Canvas:
    """A square picture in relative coordinates: x and y from 0 to 1, y downwards; colours are lit and hazed.

    Attributes:
        image: the picture.
        time_of_day: the light on everything that is painted.
        rng: the random generator of the shot.
        opaque, translucent: brushes; the opaque one replaces pixels, which is faster than blending.
        haze: share of the horizon's colour in everything that is painted.
    """

    image: Image.Image
    time_of_day: TimeOfDay
    rng: np.random.Generator
    opaque: ImageDraw.ImageDraw
    translucent: ImageDraw.ImageDraw
    haze: float = 0.0

    @classmethod
    def with_sky(cls, time_of_day: TimeOfDay, side: int, rng: np.random.Generator) -> Self:
        """Return a canvas of `side` × `side` pixels, filled with the sky, with a random haze."""
        image = _sky(time_of_day, side)
        opaque = ImageDraw.Draw(image)
        translucent = ImageDraw.Draw(image, "RGBA")
        return cls(image, time_of_day, rng, opaque, translucent, rng.uniform(0.2, 0.5))

    def lit(self, colour: Colour, alpha: int = 255) -> ColourWithAlpha:
        """Return a colour as it looks in the light of the time of day, through the haze."""
        red, green, blue = (
            _byte((1 - self.haze) * factor * level + self.haze * air)
            for factor, level, air in zip(self.time_of_day.light, colour, self.time_of_day.horizon, strict=True)
        )
        return red, green, blue, alpha

    def polygon(self, points: np.ndarray, colour: Colour, alpha: int = 255) -> None:
        """Fill a polygon of (point, 2)."""
        self._brush(alpha).polygon((points * self.image.width).ravel().tolist(), fill=self.lit(colour, alpha))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, alpha: int = 255) -> None:
        """Fill a rectangle."""
        side = self.image.width
        bounds = (x0 * side, y0 * side, x1 * side, y1 * side)
        self._brush(alpha).rectangle(bounds, fill=self.lit(colour, alpha))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: int = 255) -> None:
        """Fill an ellipse with its centre at (x, y)."""
        side = self.image.width
        bounds = ((x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side)
        self._brush(alpha).ellipse(bounds, fill=self.lit(colour, alpha))

    def pick(self, colours: tuple[Colour, ...]) -> Colour:
        """Choose one of the colours at random and vary each channel by up to 12."""
        # Without the variation the same few colours would be exactly equal in many pictures.
        r, g, b = colours[self.rng.integers(len(colours))]
        change = self.rng.integers(-12, 13, 3).tolist()
        return _byte(r + change[0]), _byte(g + change[1]), _byte(b + change[2])

    def _brush(self, alpha: int) -> ImageDraw.ImageDraw:
        return self.opaque if alpha == 255 else self.translucent


def _byte(level: float) -> int:
    return min(255, max(0, int(level)))


def _sky(time_of_day: TimeOfDay, side: int) -> Image.Image:
    """Return a vertical gradient from the zenith's to the horizon's colour."""
    share = np.linspace(0, 1.25, side).clip(0, 1)[:, None]  # (side, 1)
    # One column of four bytes per pixel, the memory layout of RGB in Pillow, repeated as 32-bit numbers.
    column = np.zeros((side, 4), np.uint8)
    column[:, :3] = np.array(time_of_day.zenith) * (1 - share) + np.array(time_of_day.horizon) * share
    return Image.frombytes("RGB", (side, side), np.repeat(column.view(np.uint32), side).tobytes(), "raw", "RGBX")
