"""Photos to RGB, RGB to a small square JPEG, and JPEGs to one batch of pixels.

Thirteen file formats are read: AVIF, BMP, GIF, JPEG, JPEG 2000, PCX, PNG, PPM, QOI, SGI, TGA, TIFF and WebP. HEIC, camera
raw and SVG are not among them.
"""

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

from pairlens.core.boxes import Box
from pairlens.core.decoding_budget import BYTES, PictureBytes, check_budget
from pairlens.core.jpeg import (
    PIXEL_LIMIT,
    QUIET,
    Jpeg,
    PixelBuffer,
    decode_jpeg,
    decode_jpeg_fast,
    encode_jpeg,
    resize_to_square,
)
from pairlens.core.untrusted import read_bytes

# Pillow opens more formats, but EPS runs Ghostscript, WMF runs drawing code of Windows, and photos do not come in the
# rest. DIB is BMP without its file header.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")

# EXIF tag 0x0112 is the orientation; 1 means that the pixels are stored upright.
_ORIENTATION = 0x0112
_UPRIGHT = 1

# JPEG markers: start of the file, the segment of EXIF and XMP, start of the compressed pixels.
_JPEG_START = b"\xff\xd8"
_APP1 = b"\xff\xe1"
_PIXELS_START = b"\xff\xda"
_MAX_SEGMENTS = 300

# Grey pictures of more than 8 bits are converted in blocks of about this number of pixels.
_PIXELS_PER_BLOCK = 1 << 20
# The conversion to RGB may take 20 bytes per pixel, so of the larger pictures only one is converted at a time.
_LARGE = 32_000_000
_ONE_LARGE_PICTURE = threading.Lock()

_BUFFER = PixelBuffer()
_Pixels = TypeVar("_Pixels", Image.Image, np.ndarray)


def load_image(source: Path | bytes) -> Image.Image:
    """Return a picture as upright 8-bit RGB.

    Transparent pixels are blended with white, 16-bit grey is scaled to 8 bits, and of an animation the first frame is
    used. The formats that are read are AVIF, BMP, GIF, JPEG, JPEG 2000, PCX, PNG, PPM, QOI, SGI, TGA, TIFF and WebP.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read as a picture, or has more than `PIXEL_LIMIT` pixels.

    >>> from PIL import Image
    >>> load_image(encode(Image.new("L", (30, 20), 128), size=8)).size
    (8, 8)
    """
    rgb = _read(source, as_rgb)
    # Pillow keeps comments and colour profiles in `info` and would write them into every JPEG made from the picture.
    rgb.info.clear()
    return rgb


def _read(source: Path | bytes, convert: Callable[[Image.Image], _Pixels]) -> _Pixels:
    """Open a picture and return the result of `convert`; every error becomes one sentence."""
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist; check the path")
    try:
        contents = source if isinstance(source, bytes) else read_bytes(source, BYTES)
        with QUIET, Image.open(PictureBytes(contents), formats=_formats()) as image:
            pixels = image.width * image.height
            with _ONE_LARGE_PICTURE if pixels > _LARGE else nullcontext():
                # `open` has read the header only, so a picture over the limit has taken no memory yet.
                if pixels <= PIXEL_LIMIT:
                    check_budget(image, contents)
                converted = convert(image) if pixels <= PIXEL_LIMIT else None
    # A broken file makes a decoder raise errors of many types: SyntaxError, struct.error, IndexError, zlib.error.
    except Exception as error:
        raise ValueError(f"{name} cannot be read as a picture ({_reason(error)}); replace or remove it") from error
    if converted is None:
        raise ValueError(f"{name} has {pixels:,} pixels, more than the limit of {PIXEL_LIMIT:,}; shrink or remove it")
    return converted


@cache
def _formats() -> tuple[str, ...]:
    # An older Pillow, or one built without a library, lacks some of the formats.
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"damaged header, or not one of the formats {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXEL_LIMIT:,} pixels"
    return str(error).split("\n")[0] or type(error).__name__


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an open picture as upright 8-bit RGB, as `load_image` does; a damaged file raises errors of any type."""
    return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        # An upright picture would be copied.
        if image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT:
            return image
        return ImageOps.exif_transpose(image)
    # Damaged EXIF says nothing about the orientation, and the pixels may be intact.
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        return _on_white(image)
    # `convert` would copy an RGB picture, too.
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Blend a transparent picture with white, in blocks of rows, because each step makes another copy."""
    rgb = Image.new("RGB", image.size)
    rows = max(1, _PIXELS_PER_BLOCK // max(1, image.width))
    for top in range(0, image.height, rows):
        layer = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        rgb.paste(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"), (0, top))
    return rgb


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale integers by 255/65535 and floats by 255; where they exceed 65535 or 1, by 255 over their maximum."""
    values = np.asarray(image)  # (height, width)
    # In blocks of rows, because the whole picture in float64 would take ten times the memory of its pixels.
    rows = max(1, _PIXELS_PER_BLOCK // max(1, values.shape[1]))
    blocks = [slice(start, start + rows) for start in range(0, len(values), rows)]
    maxima = (values[block].max(initial=0, where=np.isfinite(values[block])) for block in blocks)
    maximum = max((float(value) for value in maxima), default=0.0)
    white = max(1.0 if image.mode == "F" else 65535.0, maximum)
    grey = np.empty(values.shape, np.uint8)
    for block in blocks:
        finite = np.nan_to_num(values[block].astype(np.float64), posinf=0.0, neginf=0.0)
        # Adding 0.5 rounds to the nearest integer, because the conversion to uint8 cuts off the fraction.
        grey[block] = np.clip(finite * (255 / white) + 0.5, 0, 255)
    return Image.fromarray(grey).convert("RGB")


def encode(image: Image.Image, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Crop a picture to its box, resize it to `size` × `size` pixels and return it as a JPEG file.

    A box that exceeds the picture is cut to the picture. The aspect ratio is not kept.

    Raises:
        ValueError: if no pixel of the box lies inside the picture.
    """
    return _small_copy(np.array(image.convert("RGB")), size, box, quality)


def reduce_to_square(source: Path | bytes, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Return `encode(load_image(source), size, box, quality)`; faster than these for an upright JPEG.

    Raises:
        FileNotFoundError, ValueError: as `load_image` and `encode`.
    """
    jpeg = _upright_jpeg(source)
    pixels = None if jpeg is None else decode_jpeg_fast(jpeg, _BUFFER, PIXEL_LIMIT)
    if pixels is None:
        pixels = _read(source, partial(_upright_pixels, source))
    return _small_copy(pixels, size, box, quality)


def _upright_jpeg(source: Path | bytes) -> bytes | None:
    """Return the file of a JPEG that has no segment for an orientation; None for any other picture."""
    try:
        jpeg = source if isinstance(source, bytes) else _contents(source)
    except OSError:
        return None
    return jpeg if jpeg.startswith(_JPEG_START) and not _may_have_orientation(jpeg) else None


def _contents(file: Path) -> bytes:
    try:
        return read_bytes(file)
    # Too large for the fast way, or a device or a pipe; `_read` says so.
    except ValueError:
        return b""


def _may_have_orientation(jpeg: bytes) -> bool:
    """Whether a JPEG has an APP1 segment, where EXIF and XMP are stored, or segments that cannot be followed."""
    position = len(_JPEG_START)
    for _ in range(_MAX_SEGMENTS):
        # A segment is a marker of two bytes, then its length, which counts itself but not the marker.
        marker = jpeg[position : position + 2]
        if marker == _PIXELS_START:
            return False
        if marker == _APP1 or not marker.startswith(b"\xff"):
            return True
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return True


def _upright_pixels(source: Path | bytes, image: Image.Image) -> np.ndarray:
    """Return the pixels of an open picture, (height, width, 3); a JPEG with orientation 1 is decoded the fast way."""
    contents = source if isinstance(source, bytes) else read_bytes(source, BYTES)
    pixels = decode_jpeg_fast(contents, _BUFFER, PIXEL_LIMIT) if _is_upright_jpeg(image) else None
    return np.array(as_rgb(image)) if pixels is None else pixels


def _is_upright_jpeg(image: Image.Image) -> bool:
    try:
        return image.format == "JPEG" and image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
    # Damaged EXIF: `_upright` decides what to do with it.
    except Exception:
        return False


def _small_copy(pixels: np.ndarray, size: int, box: Box | None, quality: int) -> bytes:
    if box is not None:
        left, top, right, bottom = _clip(box, width=pixels.shape[1], height=pixels.shape[0])
        pixels = pixels[top:bottom, left:right]
    return encode_jpeg(resize_to_square(pixels, size), quality)


def _clip(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ValueError(f"the box {box} has no pixel inside the picture of {width} × {height}; correct its annotation")
    return inside


def empty_photos(photos: int, size: int, pin: bool = False) -> Tensor:
    """Return an uninitialised batch with the channels last in memory, as decoders write and convolutions read it.

    Shapes:
        result: uint8 (photo, 3, size, size).
    """
    shape = (photos, size, size, 3)
    if pin:
        # Only torch allocates page-locked memory, from which a GPU can copy asynchronously.
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).permute(0, 3, 1, 2)
    # NumPy asks the system for large pages, which are allocated faster than torch's small ones.
    return torch.from_numpy(np.empty(shape, np.uint8)).permute(0, 3, 1, 2)


def rows_of(batch: Tensor) -> np.ndarray:
    """Return a (photo, 3, height, width) batch as (photo, height, width, 3) over the same memory."""
    return batch.permute(0, 2, 3, 1).numpy()


def decode(jpegs: Sequence[Jpeg], size: int) -> Tensor:
    """Return JPEG files as one batch of RGB pixels; a picture of another size is resized.

    Shapes:
        result: uint8 (photo, 3, size, size), with the channels last in memory.

    Raises:
        ValueError: if one of them is not a JPEG.

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
    """Return the pixels of a stored JPEG as (size, size, 3); the next call in this thread overwrites them.

    Raises:
        ValueError: if it is not a JPEG.
    """
    return resize_to_square(decode_jpeg(jpeg, _BUFFER), size)
