"""Photos to RGB, RGB to a small square JPEG, and JPEGs to one batch of pixels.

Thirteen file formats are read: AVIF, BMP, GIF, JPEG, JPEG 2000, PCX, PNG, PPM, QOI, SGI, TGA, TIFF and WebP; HEIC where
the package pillow-heif is installed. Camera raw and SVG are not among them.
"""

import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pairlens.core.boxes import Box, BoxOutsideError, ShareBox
from pairlens.core.colour_profile import to_srgb
from pairlens.core.damaged_files import repaired_files
from pairlens.core.decoding_budget import BYTES, PictureBytes, TooCostlyError, check_budget
from pairlens.core.deep_pixels import DeepKind, colours_of_deep, deep_kind, grey_of_deep, largest_value, read_low_bytes
from pairlens.core.image_formats import readable_formats
from pairlens.core.jpeg import (
    PIXEL_LIMIT,
    QUIET,
    Jpeg,
    PixelBuffer,
    decode_jpeg,
    decode_jpeg_fast,
    decode_jpeg_reduced,
    encode_jpeg,
)
from pairlens.core.jpeg_metadata import JPEG_START, read_jpeg_metadata
from pairlens.core.orientation import UPRIGHT, load_unturned, orientation_of, turn_upright
from pairlens.core.photo_reading import PhotoReading
from pairlens.core.square_resize import resize_to_square
from pairlens.core.untrusted import read_bytes

# PyTorch takes long to import, and a process that runs an ONNX model reads photos without it.
if TYPE_CHECKING:
    from torch import Tensor

# Transparent pictures are blended with white in blocks of about this number of pixels.
_PIXELS_PER_BLOCK = 1 << 20
# The conversion to RGB may take 20 bytes per pixel, so of the larger pictures only one is converted at a time.
_LARGE = 32_000_000
_ONE_LARGE_PICTURE = threading.Lock()

_BUFFER = PixelBuffer()
_AS_IT_IS = PhotoReading()


@dataclass(frozen=True)
class PhotoPixels:
    """A picture file that has been read.

    Attributes:
        pixels: uint8 RGB (height, width, 3), as they are stored in the file.
        orientation: how they have to be turned, as in EXIF.
        factor: 2, 4 or 8 if a picture above the pixel limit was read with sides reduced by that factor, else 1.
        repair: what was wrong with a file whose pixels are sound, such as "file without end marker"; otherwise empty.
    """

    pixels: np.ndarray
    orientation: int = UPRIGHT
    factor: int = 1
    repair: str = ""


@dataclass(frozen=True)
class SmallPhoto:
    """A photo as it is stored in a catalog: its JPEG, the shorter side of what was kept of it, and `PhotoPixels.repair`."""

    jpeg: bytes
    side: int
    repair: str = ""


class TooManyPixelsError(ValueError):
    """A picture has more pixels than are decoded; the argument is their number."""


def load_image(source: Path | bytes, reading: PhotoReading = _AS_IT_IS) -> Image.Image:
    """Return a picture as upright 8-bit RGB in sRGB.

    Transparent pixels are blended with white, more than 8 bits are scaled to 8, and of an animation the first frame is
    used. A JPEG with more than `PIXEL_LIMIT` pixels is reduced while it is decoded.

    Args:
        source: the file, or its contents.
        reading: how the file becomes pixels.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be read as a picture, or has too many pixels.

    >>> from PIL import Image
    >>> load_image(encode(Image.new("L", (30, 20), 128), size=8)).size
    (8, 8)
    """
    picture = read_picture(source, reading)
    # Copied, because the next picture of this thread is decoded into the same memory.
    return Image.fromarray(turn_upright(picture.pixels, picture.orientation).copy())


def read_picture(source: Path | bytes, reading: PhotoReading = _AS_IT_IS) -> PhotoPixels:
    """Read a picture file; the next call in this thread may overwrite its pixels.

    Raises:
        FileNotFoundError, ValueError: as `load_image`; every error is one sentence.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist; check the path")
    try:
        contents = source if isinstance(source, bytes) else read_bytes(source, BYTES)
        with QUIET:
            return _decode_or_repair(contents, reading)
    except TooManyPixelsError as error:
        raise ValueError(f"{name} has {error}, more than the limit of {PIXEL_LIMIT:,}; shrink or remove it") from error
    # A broken file makes a decoder raise errors of many types: SyntaxError, struct.error, IndexError, zlib.error.
    except Exception as error:
        raise ValueError(f"{name} cannot be read as a picture ({_reason(error)}); replace or remove it") from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"damaged header, or not one of the formats {', '.join(readable_formats())}"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXEL_LIMIT:,} pixels"
    return str(error).split("\n")[0] or type(error).__name__


def _decode_or_repair(source: bytes, reading: PhotoReading) -> PhotoPixels:
    try:
        return _decode_file(source, reading)
    except (TooManyPixelsError, TooCostlyError, MemoryError):
        raise
    except Exception:
        repairs = repaired_files(source) if isinstance(source, bytes) else ()
        for repair, repaired in repairs:
            with suppress(Exception):
                return replace(_decode_file(repaired, reading), repair=repair)
        raise


def _decode_file(source: bytes, reading: PhotoReading) -> PhotoPixels:
    if isinstance(source, bytes) and source.startswith(JPEG_START):
        picture = _decode_common_jpeg(source, reading)
        if picture is not None:
            return picture
    with _open(source) as image:
        pixels = image.width * image.height
        # `open` has read the header only, so a picture over the limit has taken no memory yet.
        if pixels > PIXEL_LIMIT:
            raise TooManyPixelsError(f"{pixels:,} pixels")
        check_budget(image, source)
        with _ONE_LARGE_PICTURE if pixels > _LARGE else nullcontext():
            rgb = _stored_rgb(image, reading, source)
            return PhotoPixels(np.array(rgb), orientation_of(image))


def _open(source: bytes) -> Image.Image:
    return Image.open(PictureBytes(source), formats=readable_formats())


def _decode_common_jpeg(jpeg: bytes, reading: PhotoReading) -> PhotoPixels | None:
    """Read a JPEG without Pillow, which is faster; None if it is damaged or of a rare kind."""
    metadata = read_jpeg_metadata(jpeg)
    if metadata is None:
        return None
    factor = 1
    pixels = decode_jpeg_fast(jpeg, _BUFFER, PIXEL_LIMIT)
    if pixels is None:
        with _ONE_LARGE_PICTURE:
            factor, pixels = decode_jpeg_reduced(jpeg, PIXEL_LIMIT) or (1, None)
    if pixels is None:
        return None
    if metadata.profile and reading.convert_colours:
        pixels = to_srgb(pixels, metadata.profile)
    return PhotoPixels(pixels, metadata.orientation, factor)


def as_rgb(image: Image.Image, reading: PhotoReading = _AS_IT_IS) -> Image.Image:
    """Return an open picture as upright 8-bit RGB, as `load_image` does; a damaged file raises errors of any type."""
    rgb = _stored_rgb(image, reading)
    return Image.fromarray(turn_upright(np.array(rgb), orientation_of(image)))


def _stored_rgb(image: Image.Image, reading: PhotoReading, source: bytes | None = None) -> Image.Image:
    """Return an open picture as 8-bit RGB in sRGB, not turned; `source` is needed for all bits of 16-bit colours."""
    kind = deep_kind(image)
    load_unturned(image)
    layers = image if kind is None else _as_8_bits(image, kind, reading, source)
    if layers.has_transparency_data:
        return _on_white(layers, image, reading)
    return _convert_colours(layers.convert("RGB"), image, reading)


def _as_8_bits(image: Image.Image, kind: DeepKind, reading: PhotoReading, source: bytes | None) -> Image.Image:
    white = reading.depth.white(kind, largest_value(image))
    if image.mode not in ("RGB", "RGBA"):
        return grey_of_deep(image, white)
    # With all 16 bits in use the upper bytes, which Pillow has read, are the picture.
    if white >= 65535 or source is None:
        return image
    with _open(source) as again:
        low = read_low_bytes(again)
    return image if low is None else colours_of_deep(np.asarray(image), low, white)


def _on_white(layers: Image.Image, image: Image.Image, reading: PhotoReading) -> Image.Image:
    """Blend a transparent picture with white, in blocks of rows, because each step makes another copy."""
    rgb = Image.new("RGB", layers.size)
    rows = max(1, _PIXELS_PER_BLOCK // max(1, layers.width))
    for top in range(0, layers.height, rows):
        layer = layers.crop((0, top, layers.width, min(top + rows, layers.height))).convert("RGBA")
        opaque = _convert_colours(layer.convert("RGB"), image, reading)
        opaque.putalpha(layer.getchannel("A"))
        rgb.paste(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), opaque).convert("RGB"), (0, top))
    return rgb


def _convert_colours(rgb: Image.Image, image: Image.Image, reading: PhotoReading) -> Image.Image:
    profile = image.info.get("icc_profile")
    # A profile of RGB says nothing about grey or CMYK pixels, which have no colours in it.
    if not profile or not reading.convert_colours or image.mode not in ("RGB", "RGBA", "P", "PA"):
        return rgb
    pixels = np.asarray(rgb)
    converted = to_srgb(pixels, profile)
    return rgb if converted is pixels else Image.fromarray(converted)


def encode(image: Image.Image, size: int, box: Box | None = None, quality: int = 95) -> bytes:
    """Crop a picture to its box, resize it to `size` × `size` pixels and return it as a JPEG file.

    A box that exceeds the picture is cut to the picture. The aspect ratio is not kept.

    Raises:
        ValueError: if no pixel of the box lies inside the picture.
    """
    return encode_jpeg(resize_to_square(_crop(np.array(image.convert("RGB")), box), size), quality)


def reduce_to_square(
    source: Path | bytes, size: int, box: Box | None = None, quality: int = 95, reading: PhotoReading = _AS_IT_IS
) -> bytes:
    """Return `encode(load_image(source, reading), size, box, quality)` without a copy of all pixels.

    Raises:
        FileNotFoundError, ValueError: as `load_image` and `encode`.
    """
    return reduce_photo(source, size, box, quality, reading).jpeg


def reduce_photo(
    source: Path | bytes,
    size: int,
    box: Box | ShareBox | None = None,
    quality: int = 95,
    reading: PhotoReading = _AS_IT_IS,
) -> SmallPhoto:
    """Return a photo as `reduce_to_square` does, with what is to be said about it.

    The box may hold shares of width and height. It refers to the upright photo, unless `reading.box_frame` is "stored".

    Raises:
        FileNotFoundError, ValueError: as `load_image` and `encode`.
    """
    picture = read_picture(source, reading)
    if reading.box_frame == "stored":
        kept = turn_upright(_crop(picture.pixels, box, picture.factor), picture.orientation)
    else:
        kept = _crop(turn_upright(picture.pixels, picture.orientation), box, picture.factor)
    return SmallPhoto(
        jpeg=encode_jpeg(resize_to_square(kept, size), quality),
        side=min(kept.shape[:2]) * picture.factor,
        repair=picture.repair,
    )


def _crop(pixels: np.ndarray, box: Box | ShareBox | None, factor: int = 1) -> np.ndarray:
    """Return the pixels of a box, whose corners refer to a picture `factor` times as large."""
    if box is None:
        return pixels
    height, width = pixels.shape[:2]
    corners = box.pixels(width * factor, height * factor) if isinstance(box, ShareBox) else box
    left, top, right, bottom = _clip(corners, width * factor, height * factor)
    # Rounded outwards, so that a small box keeps at least one pixel.
    return pixels[top // factor : -(-bottom // factor), left // factor : -(-right // factor)]


def _clip(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise BoxOutsideError(
            f"the box {box} has no pixel inside the picture of {width} × {height}; correct its annotation"
        )
    return inside


def empty_photos(photos: int, size: int, pin: bool = False) -> "Tensor":
    """Return an uninitialised uint8 (photo, 3, size, size) whose channels are last in memory, as convolutions read it."""
    import torch

    shape = (photos, size, size, 3)
    if pin:
        # Only torch allocates page-locked memory, from which a GPU can copy asynchronously.
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).permute(0, 3, 1, 2)
    # NumPy asks the system for large pages, which are allocated faster than torch's small ones.
    return torch.from_numpy(np.empty(shape, np.uint8)).permute(0, 3, 1, 2)


def rows_of(batch: "Tensor") -> np.ndarray:
    """Return a (photo, 3, height, width) batch as (photo, height, width, 3) over the same memory."""
    return batch.permute(0, 2, 3, 1).numpy()


def decode(jpegs: Sequence[Jpeg], size: int) -> "Tensor":
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
