"""Pictures in and out: any photo to RGB, RGB to a small square JPEG, JPEGs to one batch of pixels."""

import io
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional

from pairlens.data.listing import Box

PIXEL_LIMIT = 100_000_000
STORED_PIXEL_LIMIT = 4096 * 4096
# Pillow opens more, but EPS runs Ghostscript, WMF the drawing code of Windows, and the rest are not what photos come in.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")

_ROWS = 64

# Warning filters belong to the whole process, so two threads must not set and restore them at once.
_FILTERS = threading.Lock()


def load_image(source: Path | bytes) -> Image.Image:
    """Return any picture as upright 8-bit RGB: transparency on white, 16 bits scaled to 8, first frame of several.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read as a picture, or has more than `PIXEL_LIMIT` pixels.

    >>> from PIL import Image
    >>> load_image(encode(Image.new("L", (30, 20), 128), size=8)).size
    (8, 8)
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist; check the path")
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
                pixels = image.width * image.height
                rgb = _to_rgb(_upright(image)) if pixels <= PIXEL_LIMIT else None
        # A broken file makes a decoder raise nearly anything: SyntaxError, struct.error, IndexError, zlib.error.
        except Exception as error:
            raise ValueError(f"{name} cannot be read as a picture ({_reason(error)}); replace or remove it") from error
    if rgb is None:
        raise ValueError(f"{name} has {pixels:,} pixels, more than the limit of {PIXEL_LIMIT:,}; shrink or remove it")
    # What PIL keeps beside the pixels, such as comments, would be written again with every small copy.
    rgb.info.clear()
    return rgb


@cache
def _formats() -> tuple[str, ...]:
    # An older Pillow, or one built without a library, lacks some.
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "unknown format or damaged header"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXEL_LIMIT:,} pixels"
    return str(error).split("\n")[0] or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Unreadable EXIF says nothing about the direction, and the pixels themselves are sound.
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale integers by 255/65535 and floats by 255; where they exceed 65535 or 1, by 255 over their maximum."""
    values = np.asarray(image)
    finite = values[np.isfinite(values)] if image.mode == "F" else values
    white = max(1.0 if image.mode == "F" else 65535.0, float(finite.max(initial=0)))
    grey = np.empty(values.shape, np.uint8)
    # A few rows at a time, because the whole picture as float64 takes ten times the memory of the file's pixels.
    for start in range(0, len(values), _ROWS):
        rows = np.nan_to_num(values[start : start + _ROWS].astype(np.float64), posinf=0.0, neginf=0.0)
        grey[start : start + _ROWS] = np.clip(rows * (255 / white) + 0.5, 0, 255)
    return Image.fromarray(grey).convert("RGB")


def encode(image: Image.Image, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Crop an RGB picture to its box, squash it to `size` × `size` pixels and return it as a JPEG file.

    A box that reaches over the edge is cut to the picture; the aspect ratio is not kept.

    Raises:
        ValueError: if nothing of the box lies inside the picture.
    """
    part = image if box is None else image.crop(_inside(box, image.width, image.height))
    buffer = io.BytesIO()
    part.resize((size, size), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _inside(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise ValueError(f"the box {box} has no pixel inside the picture of {width} × {height}; correct its annotation")
    return cut


def decode(jpegs: Sequence[bytes | bytearray | memoryview], size: int) -> Tensor:
    """Return JPEG files as one batch of RGB pixels, resized only where they are stored at another size.

    Shapes:
        result: uint8 [photo, 3, size, size].

    Raises:
        ValueError: if one of them is no JPEG.

    >>> from PIL import Image
    >>> decode([encode(Image.new("RGB", (9, 9), "white"), size=4)], size=4).float().mean().item()
    255.0
    """
    batch = torch.empty(len(jpegs), 3, size, size, dtype=torch.uint8)
    for position, jpeg in enumerate(jpegs):
        try:
            # Not torchvision's decoder: torchvision 0.29 deprecates it, and the pixels are the same.
            with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
                if image.width * image.height > STORED_PIXEL_LIMIT:
                    raise ValueError(f"{image.width} × {image.height} pixels are never prepared")
                pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        # As in `load_image`; a warning about many pixels, too, comes as an error where these are asked for.
        except Exception as error:
            raise ValueError(
                f"JPEG {position} of the batch is damaged ({error}); prepare the data set again"
            ) from error
        if pixels.shape[1:] != (size, size):
            pixels = functional.resize(pixels, [size, size], antialias=True)
        batch[position] = pixels
    return batch
