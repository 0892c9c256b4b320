"""Pictures of more than 8 bits: how much of their range a data set uses, and their conversion to 8 bits."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from pairlens.core.decoding_budget import BYTES, check_budget
from pairlens.core.image_formats import readable_formats
from pairlens.core.jpeg import PIXEL_LIMIT, QUIET
from pairlens.core.orientation import load_unturned
from pairlens.core.untrusted import read_bytes, regular_file

DeepKind = Literal["integers", "floats"]

# Cameras and scanners deliver 10, 12, 14 or 16 bits, mostly stored in 16.
_BITS = (8, 10, 12, 14, 16)
# Floats are shares of white; resampling may take them a little beyond it.
_LARGEST_SHARE = 2.0
# How Pillow names the layouts of 16-bit colours: the upper byte first (B), last (L), or as the machine has it (N).
_DEEP_LAYOUTS = tuple(f"{colours};16{order}" for colours in ("RGB", "RGBA") for order in "BLN")
_UPPER_BYTE_LAST = ("L", "N") if sys.byteorder == "little" else ("L",)
_GREY_WITH_OPACITY = "LA;16B"
# Pixels are converted in blocks of rows of about this number, because float64 takes eight times the memory of a byte.
_PIXELS_PER_BLOCK = 1 << 20


@dataclass(frozen=True)
class Depth:
    """The values that are white in pictures of more than 8 bits; 0: each picture is judged by its own values.

    >>> Depth(integers=4095.0).words()
    'whole numbers of 12 bits'
    """

    integers: float = 0.0
    floats: float = 0.0

    def __post_init__(self) -> None:
        # A stored record may come from anyone.
        if not (0 <= self.integers < math.inf and 0 <= self.floats < math.inf):
            raise ValueError(f"the white of deep pictures is {self.integers} and {self.floats}; it is a number from 0")

    def white(self, kind: DeepKind, maximum: float) -> float:
        """Return the white of a picture of this kind, whose largest value is `maximum`."""
        known = self.integers if kind == "integers" else self.floats
        return known or white_of(kind, maximum)

    def words(self) -> str:
        """Return what the pictures of a data set hold, as part of a sentence; empty if nothing is known."""
        bits = {2.0**number - 1: f"whole numbers of {number} bits" for number in _BITS}
        integers = bits.get(self.integers, f"whole numbers up to {self.integers:g}") if self.integers else ""
        floats = f"floats up to {self.floats:g}" if self.floats else ""
        return " and ".join(filter(None, (integers, floats)))


def white_of(kind: DeepKind, maximum: float) -> float:
    """Return the value that is white, judged by the largest value of a picture or of a data set.

    >>> white_of("integers", 3020), white_of("integers", 65535), white_of("floats", 0.4), white_of("floats", 200)
    (4095.0, 65535.0, 1.0, 255.0)
    """
    if kind == "floats" and maximum <= _LARGEST_SHARE:
        return max(1.0, maximum)
    return next((2.0**bits - 1 for bits in _BITS if maximum < 2**bits), maximum)


def deep_kind(image: Image.Image) -> DeepKind | None:
    """Return what the pixels of an open picture are, before they are loaded; None for 8 bits or less."""
    if image.mode == "F":
        return "floats"
    is_deep = image.mode.startswith("I;16") or image.mode == "I" or _deep_colour_layout(image) is not None
    return "integers" if is_deep else None


def largest_value(image: Image.Image) -> float:
    """Return the largest finite value of a loaded deep picture; 0 if it has none.

    Of 16-bit colours Pillow delivers the upper bytes: for them it is the largest value with that upper byte.
    """
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return float(values[:, :, :3].max(initial=0)) * 256 + 255
    maxima = (values[block].max(initial=0, where=np.isfinite(values[block])) for block in _blocks(values))
    return max((float(maximum) for maximum in maxima), default=0.0)


def read_largest_value(file: Path) -> tuple[DeepKind, float] | None:
    """Return what a picture file of more than 8 bits holds, and its largest value; None for any other file."""
    try:
        with QUIET, Image.open(regular_file(file), formats=readable_formats()) as image:
            kind = deep_kind(image)
            if kind is None or image.width * image.height > PIXEL_LIMIT:
                return None
            check_budget(image, read_bytes(file, BYTES))
            load_unturned(image)
            return kind, largest_value(image)
    # A broken file is refused with its reason when it is prepared.
    except Exception:
        return None


def grey_of_deep(image: Image.Image, white: float) -> Image.Image:
    """Return a deep grey picture as RGB of 8 bits; values are cut to the range from 0 to `white`."""
    values = np.asarray(image)  # (height, width)
    return Image.fromarray(_scaled(values, white)).convert("RGB")


def read_low_bytes(image: Image.Image) -> np.ndarray | None:
    """Load the lower bytes of 16-bit colours from a second opened copy of a picture; None if it cannot be done.

    Pillow keeps the upper byte of each colour. When it is told that the bytes stand in the other order, it keeps the lower
    one instead, so two readings give all 16 bits.

    Shapes:
        result: uint8 (height, width, channel).
    """
    layout = _deep_colour_layout(image)
    if layout is None:
        return None
    # Grey with opacity has two bytes for each: as 8-bit colours they are upper and lower grey, upper and lower opacity.
    swapped = "RGBA" if layout == _GREY_WITH_OPACITY else layout[:-1] + ("B" if layout[-1] in _UPPER_BYTE_LAST else "L")
    # Only a picture of an open file has the attribute `tile`, and `layout` says that this is one.
    file: Any = image
    file.tile = [
        tile._replace(args=swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])) for tile in file.tile
    ]
    image.load()
    low = np.asarray(image)
    return low[:, :, [1, 1, 1, 3]] if layout == _GREY_WITH_OPACITY else low


def colours_of_deep(high: np.ndarray, low: np.ndarray, white: float) -> Image.Image:
    """Return 16-bit colours as RGB, or RGBA, of 8 bits, from their upper and lower bytes (height, width, channel)."""
    values = high.astype(np.uint16) * 256 + low
    scaled = _scaled(values, white)
    if values.shape[2] == 4:
        # Opacity need not use the same range as the colours.
        opacity = values[:, :, 3]
        scaled[:, :, 3] = _scaled(opacity, white_of("integers", float(opacity.max(initial=0))))
    return Image.fromarray(scaled)


def _deep_colour_layout(image: Image.Image) -> str | None:
    """Return how Pillow names the layout of 16-bit colours, such as RGB;16B; None for any other picture."""
    for tile in getattr(image, "tile", ()):
        layout = tile.args if isinstance(tile.args, str) else next(iter(tile.args or ()), None)
        if layout in _DEEP_LAYOUTS or (layout == _GREY_WITH_OPACITY and image.mode == "RGBA"):
            return layout
    return None


def _scaled(values: np.ndarray, white: float) -> np.ndarray:
    """Return values from 0 to `white` as 0 to 255; those that are not finite as 0."""
    scaled = np.empty(values.shape, np.uint8)
    for block in _blocks(values):
        finite = np.nan_to_num(values[block].astype(np.float64), posinf=0.0, neginf=0.0)
        # Adding 0.5 rounds to the nearest integer, because the conversion to uint8 cuts off the fraction.
        scaled[block] = np.clip(finite * (255 / white) + 0.5, 0, 255)
    return scaled


def _blocks(values: np.ndarray) -> list[slice]:
    rows = max(1, _PIXELS_PER_BLOCK // max(1, values.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(values), rows)]
