"""Pictures in and out: any photo to RGB, RGB to a small square JPEG, JPEGs to one batch of pixels."""

import io
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pairlens.core.untrusted import MAX_JSON_BYTES
from pairlens.data.annotations import Box
from pairlens.data.jpeg import (
    PIXEL_LIMIT,
    QUIET,
    Jpeg,
    PixelBuffer,
    decode_jpeg,
    decode_jpeg_fast,
    encode_jpeg,
    resize_to_square,
)

_ORIENTATION, _UPRIGHT = 0x0112, 1
_JPEG_START, _APP1, _PIXELS = b"\xff\xd8", b"\xff\xe1", b"\xff\xda"
_MOST_SEGMENTS = 300
_DESK = PixelBuffer()
_Pixels = TypeVar("_Pixels", Image.Image, np.ndarray)
# Pillow opens more, but EPS runs Ghostscript, WMF the drawing code of Windows, and the rest are not what photos come in.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
_PIXELS_AT_ONCE = 1 << 20
# On the way to RGB a picture may take twenty bytes a pixel, so those that say they are large go one by one.
_LARGE, _ALONE = 32_000_000, threading.Lock()


def load_image(source: Path | bytes) -> Image.Image:
    """Return any picture as upright 8-bit RGB: transparency on white, 16 bits scaled to 8, first frame of several.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read as a picture, or has more than `PIXEL_LIMIT` pixels.

    >>> from PIL import Image
    >>> load_image(encode(Image.new("L", (30, 20), 128), size=8)).size
    (8, 8)
    """
    rgb = _read(source, _as_rgb)
    # What PIL keeps beside the pixels, such as comments, would be written again with every small copy.
    rgb.info.clear()
    return rgb


def _read(source: Path | bytes, take: Callable[[Image.Image], _Pixels]) -> _Pixels:
    """Open a picture and return what `take` makes of it; whatever goes wrong is one sentence."""
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist; check the path")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with QUIET, Image.open(file, formats=_formats()) as image:
            pixels = image.width * image.height
            with _ALONE if pixels > _LARGE else nullcontext():
                taken = take(image) if pixels <= PIXEL_LIMIT else None
    # A broken file makes a decoder raise nearly anything: SyntaxError, struct.error, IndexError, zlib.error.
    except Exception as error:
        raise ValueError(f"{name} cannot be read as a picture ({_reason(error)}); replace or remove it") from error
    if taken is None:
        raise ValueError(f"{name} has {pixels:,} pixels, more than the limit of {PIXEL_LIMIT:,}; shrink or remove it")
    return taken


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


def _as_rgb(image: Image.Image) -> Image.Image:
    return _to_rgb(_upright(image))


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
    # A few rows at a time, because the whole picture as float64 takes ten times the memory of the file's pixels.
    rows = max(1, _PIXELS_AT_ONCE // max(1, values.shape[1]))
    parts = [slice(start, start + rows) for start in range(0, len(values), rows)]
    most = max((float(values[part].max(initial=0, where=np.isfinite(values[part]))) for part in parts), default=0.0)
    white = max(1.0 if image.mode == "F" else 65535.0, most)
    grey = np.empty(values.shape, np.uint8)
    for part in parts:
        whole = np.nan_to_num(values[part].astype(np.float64), posinf=0.0, neginf=0.0)
        grey[part] = np.clip(whole * (255 / white) + 0.5, 0, 255)
    return Image.fromarray(grey).convert("RGB")


def encode(image: Image.Image, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Crop an RGB picture to its box, squash it to `size` × `size` pixels and return it as a JPEG file.

    A box that reaches over the edge is cut to the picture; the aspect ratio is not kept.

    Raises:
        ValueError: if nothing of the box lies inside the picture.
    """
    return _small_copy(np.array(image.convert("RGB")), size, box, quality)


def reduce_to_square(source: Path | bytes, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Return `encode(load_image(source), size, box, quality)`, but decode a JPEG that lies upright faster.

    Raises:
        FileNotFoundError, ValueError: as these two do.
    """
    jpeg = _plain_jpeg(source)
    quick = None if jpeg is None else decode_jpeg_fast(jpeg, _DESK, PIXEL_LIMIT)
    return _small_copy(_read(source, partial(_upright_pixels, source)) if quick is None else quick, size, box, quality)


def _plain_jpeg(source: Path | bytes) -> bytes | None:
    """Return a JPEG file whose pixels are upright, because nothing in it can say otherwise; None for any other."""
    try:
        jpeg = source if isinstance(source, bytes) else _contents(source)
    except OSError:
        return None
    return jpeg if jpeg.startswith(_JPEG_START) and not _may_tell_a_direction(jpeg) else None


def _contents(file: Path) -> bytes:
    status = file.stat()
    return file.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_JSON_BYTES else b""


def _may_tell_a_direction(jpeg: bytes) -> bool:
    """Go through the segments before the pixels: EXIF and XMP are in one that is called APP1."""
    at = len(_JPEG_START)
    for _ in range(_MOST_SEGMENTS):
        name = jpeg[at : at + 2]
        if name in (_APP1, _PIXELS) or not name.startswith(b"\xff"):
            return name != _PIXELS
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return True


def _upright_pixels(source: Path | bytes, image: Image.Image) -> np.ndarray:
    contents = source if isinstance(source, bytes) else source.read_bytes()
    quick = decode_jpeg_fast(contents, _DESK, PIXEL_LIMIT) if _is_upright_jpeg(image) else None
    return np.array(_as_rgb(image)) if quick is None else quick


def _is_upright_jpeg(image: Image.Image) -> bool:
    try:
        return image.format == "JPEG" and image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
    except Exception:  # As in `_upright`, which then looks at it again.
        return False


def _small_copy(pixels: np.ndarray, size: int, box: Box | None, quality: int) -> bytes:
    if box is not None:
        left, top, right, bottom = _inside(box, pixels.shape[1], pixels.shape[0])
        pixels = pixels[top:bottom, left:right]
    return encode_jpeg(resize_to_square(pixels, size), quality)


def _inside(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise ValueError(f"the box {box} has no pixel inside the picture of {width} × {height}; correct its annotation")
    return cut


def empty_photos(photos: int, size: int, pin: bool = False) -> Tensor:
    """Return an unwritten batch, its channels last in memory as decoders write and convolutions read them.

    Shapes:
        result: uint8 [photo, 3, size, size].
    """
    shape = (photos, size, size, 3)
    # numpy asks the system for large pages, which are had sooner; only torch has memory that a GPU can fetch from.
    rows = (
        torch.empty(shape, dtype=torch.uint8, pin_memory=True) if pin else torch.from_numpy(np.empty(shape, np.uint8))
    )
    return rows.permute(0, 3, 1, 2)


def rows_of(batch: Tensor) -> np.ndarray:
    """Return the memory of a batch as [photo, height, width, 3]."""
    return batch.permute(0, 2, 3, 1).numpy()


def decode(jpegs: Sequence[Jpeg], size: int) -> Tensor:
    """Return JPEG files as one batch of RGB pixels, resized only where they are stored at another size.

    Shapes:
        result: uint8 [photo, 3, size, size], the channels last in memory.

    Raises:
        ValueError: if one of them is no JPEG.

    >>> from PIL import Image
    >>> decode([encode(Image.new("RGB", (9, 9), "white"), size=4)], size=4).float().mean().item()
    255.0
    """
    batch = empty_photos(len(jpegs), size)
    for position, (row, jpeg) in enumerate(zip(rows_of(batch), jpegs, strict=True)):
        try:
            row[:] = decode_one(jpeg, size)
        except ValueError as error:
            raise ValueError(
                f"JPEG {position} of the batch is damaged ({error}); prepare the data set again"
            ) from error
    return batch


def decode_one(jpeg: Jpeg, size: int) -> np.ndarray:
    """Return the pixels of a stored JPEG as [size, size, 3]; the next in this thread overwrites them.

    Raises:
        ValueError: if it is no JPEG.
    """
    return resize_to_square(decode_jpeg(jpeg, _DESK), size)
