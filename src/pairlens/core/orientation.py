"""The orientation of a photo: EXIF tag 0x0112, read alone, and the turn that makes stored pixels upright."""

import struct
from contextlib import suppress

import numpy as np
from PIL import Image

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_PREFIX = b"Exif\0\0"
# TIFF types of whole numbers: their codes and how `struct` reads them. Cameras write SHORT; some programs do not.
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_ENTRY_BYTES = 12


def exif_orientation(exif: bytes) -> int:
    r"""Return the orientation, 1 to 8, of an EXIF block; 1 if it has none or is damaged before the tag.

    No other tag is decoded, so that none of them can be the reason why a photo lies on its side.

    >>> exif_orientation(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")
    6
    """
    block = exif.removeprefix(_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return UPRIGHT
    # A block that was cut short: what comes after the cut is unknown.
    with suppress(struct.error):
        (start,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
            if tag == _ORIENTATION_TAG and kind in _INTEGER_TYPES and count >= 1:
                # The value itself stands in the entry, at its left end in both byte orders.
                (value,) = struct.unpack_from(order + _INTEGER_TYPES[kind], block, entry + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of a loaded picture, whose pixels Pillow has not turned."""
    # In a TIFF file the tag is one of the file itself and not part of an EXIF block.
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        return _tiff_orientation(tags)
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif_orientation(exif)
    # ImageMagick writes EXIF into PNG files as lines of hexadecimal digits, after three lines of heading.
    profile = image.info.get("Raw profile type exif")
    with suppress(ValueError):
        return exif_orientation(bytes.fromhex("".join(str(profile or "").split("\n")[3:])))
    return UPRIGHT


def _tiff_orientation(tags: object) -> int:
    try:
        value = int(tags.get(_ORIENTATION_TAG, UPRIGHT))  # pyright: ignore[reportAttributeAccessIssue]
    # The tag may hold a text or several numbers, and reading a damaged one may fail in any way.
    except Exception:
        return UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def load_unturned(image: Image.Image) -> None:
    """Load the pixels of a picture as they are stored.

    Pillow turns TIFF pictures at the end of loading, and reads their other tags for that, which may fail.
    """
    if getattr(image, "tag_v2", None) is not None:
        image.load_end = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    image.load()


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels as they were seen, by transposing and mirroring them.

    Shapes:
        pixels: (height, width, 3); result: the same, or (width, height, 3) for the orientations 5 to 8.

    >>> turn_upright(np.arange(6).reshape(2, 3, 1), 6)[:, :, 0].tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    if orientation == UPRIGHT:
        return pixels
    # 5 to 8 are stored with rows as columns.
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    # torch accepts no array with negative strides, so it is copied.
    return np.ascontiguousarray(turned)
