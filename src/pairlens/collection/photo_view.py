"""A photo as a collection takes it: its digest, its size, its thumbnail, and the pixels that the model sees."""

import hashlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairlens.collection.item import Region
from pairlens.core.boxes import Box, BoxOutsideError, ShareBox
from pairlens.core.images import decode_one, read_picture
from pairlens.core.jpeg import encode_jpeg
from pairlens.core.orientation import turn_upright
from pairlens.core.photo_reading import PhotoReading
from pairlens.core.square_resize import resize_by_torch, resize_to_square
from pairlens.core.untrusted import read_bytes
from pairlens.model.photo_input import PhotoInput, pixels_of

THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 256, 85
# A photo file has at most this many bytes; the decoders have a limit of their own below it.
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class PhotoView:
    """What is derived from one photo, or from a region of it.

    Attributes:
        seen: uint8 (image_size, image_size, 3), as the model sees it.
        thumbnail: JPEG of at most 256 pixels.
        width, height: of the whole upright photo.
        region: the part that was kept, in pixels; None for the whole photo.
        look: see `look_of`.
    """

    seen: np.ndarray
    thumbnail: bytes
    width: int
    height: int
    region: Region | None
    look: int


def digest_of(contents: bytes) -> str:
    """Return the SHA-256 of a file's contents in hexadecimal digits."""
    return hashlib.sha256(contents).hexdigest()


def contents_of(photo: Any) -> bytes:
    """Return the bytes by which a photo is recognised: those of the file, or of the pixels that were given.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if it is no photo in any form that `Embedder.embed` takes.
    """
    match photo:
        case str() | Path():
            return read_bytes(Path(photo), MAX_FILE_BYTES)
        case bytes() | bytearray() | memoryview():
            return bytes(photo)
    return _bytes_of(pixels_of(photo, PhotoReading()))


def _bytes_of(pixels: np.ndarray) -> bytes:
    return repr(pixels.shape).encode() + pixels.tobytes()


def kept_pixels(pixels: np.ndarray) -> bytes:
    """Return pixels that come without a file as the file that a collection keeps: PNG, which loses nothing."""
    png = io.BytesIO()
    # The lowest compression takes a fifth of the time of the usual one and 10 % more space.
    Image.fromarray(pixels).save(png, "PNG", compress_level=1)
    return png.getvalue()


def has_digest(contents: bytes, digest: str) -> bool:
    """Return whether a kept photo has a digest: that of its bytes, or of its pixels if it came without a file."""
    if digest_of(contents) == digest:
        return True
    try:
        return digest_of(_bytes_of(read_picture(contents, PhotoReading()).pixels)) == digest
    except ValueError:
        return False


def view_photo(photo: Any, view: PhotoInput, box: Box | ShareBox | None = None) -> PhotoView:
    """Read a photo once, and return everything that a collection keeps of it.

    The model sees what `PhotoInput` would give it: the photo as the square JPEG of a prepared data set.

    Args:
        photo: the contents of a picture file, or a picture, an array or a tensor as `Embedder.embed` takes it.
        view: of the model.
        box: the part that is kept; pixels or shares of the upright photo.

    Raises:
        ValueError: if the photo cannot be read, or no pixel of the box lies inside it.
    """
    pixels, factor = _upright_pixels(photo, view.reading or PhotoReading())
    height, width = pixels.shape[0] * factor, pixels.shape[1] * factor
    region = None if box is None else _region(box, width, height)
    kept = pixels
    if region is not None:
        left, top, right, bottom = region.box
        # Rounded outwards, so that a small region keeps at least one pixel of a reduced picture.
        kept = pixels[top // factor : -(-bottom // factor), left // factor : -(-right // factor)]
    stored = encode_jpeg(resize_to_square(kept, view.stored_size), view.quality)
    small = _at_most(kept, THUMBNAIL_SIDE)
    return PhotoView(
        # Copied, because the next picture of this thread is decoded into the same memory.
        seen=decode_one(stored, view.image_size).copy(),
        thumbnail=encode_jpeg(np.asarray(small), THUMBNAIL_QUALITY),
        width=width,
        height=height,
        region=region,
        look=look_of(small),
    )


def _upright_pixels(photo: Any, reading: PhotoReading) -> tuple[np.ndarray, int]:
    """Return upright RGB pixels and the factor by which they were reduced while a huge JPEG was decoded."""
    if isinstance(photo, bytes | bytearray | memoryview):
        picture = read_picture(bytes(photo), reading)
        return turn_upright(picture.pixels, picture.orientation), picture.factor
    # PyTorch, which resizes them, warns of arrays that cannot be written, such as memory-mapped ones.
    return np.require(pixels_of(photo, reading), requirements=["C", "W"]), 1


def _region(box: Box | ShareBox, width: int, height: int) -> Region:
    left, top, right, bottom = box.pixels(width, height) if isinstance(box, ShareBox) else box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        raise BoxOutsideError(f"the region has no pixel inside the photo of {width} × {height}; correct it")
    return Region(left, top, right - left, bottom - top)


def _at_most(pixels: np.ndarray, side: int) -> Image.Image:
    """Return pixels as a picture whose longer side has at most `side` pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return Image.fromarray(pixels).copy()
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    if "torch" in sys.modules:
        # The pixels of Pillow within rounding, five times as fast.
        return Image.fromarray(resize_by_torch(pixels, height, width))
    # `reducing_gap` averages whole blocks of pixels first, which is several times as fast for large photos.
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def look_of(picture: Image.Image) -> int:
    """Return 64 bits that say, for 8 × 8 places, whether the picture gets brighter to the right.

    Encodings and sizes of one picture differ in few of these bits, different pictures in about half of them.

    Source: N. Krawetz, "Kind of Like That", 2013 (difference hash).

    >>> look_of(Image.new("RGB", (30, 20)))
    0
    """
    # (8, 9): eight rows, and one column more than there are differences.
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = np.packbits((grey[:, 1:] > grey[:, :-1]).reshape(-1))
    return int.from_bytes(bits.tobytes(), "big")
