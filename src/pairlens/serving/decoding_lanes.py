"""How many photos are decoded at the same time: a costly one waits for other costly ones, and for nobody else does."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from PIL import Image

from pairlens.core.image_formats import readable_formats

# A photo of a telephone is below both; decoding what is above them takes a second and more.
USUAL_BYTES, USUAL_PIXELS = 16 << 20, 300_000_000
_QUICK_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_QUICK_PIXELS = 4_000_000
_SCAN = b"\xff\xda"


class DecodingLanes:
    """Lets one costly photo and a few usual ones be decoded at a time."""

    def __init__(self) -> None:
        """Make the lanes as wide as the machine."""
        self._costly = BoundedSemaphore(1)
        self._usual = BoundedSemaphore(max(2, os.cpu_count() or 1))

    @contextmanager
    def decoding(self, contents: bytes) -> Iterator[None]:
        """Wait until a photo may be decoded, and hold its place in the block."""
        with self._costly if is_costly(contents) else self._usual:
            yield


def is_costly(contents: bytes) -> bool:
    """Return whether a picture file is one that takes long to decode, judged by its header.

    >>> is_costly(b"no picture"), is_costly(bytes(32 << 20))
    (False, True)
    """
    if len(contents) > USUAL_BYTES:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(contents), formats=readable_formats())
    except Exception:
        return False
    pixels = picture.width * picture.height
    if picture.format not in _QUICK_FORMATS:
        return pixels > _QUICK_PIXELS
    # Each scan of a progressive JPEG goes over all pixels.
    return pixels * max(1, contents.count(_SCAN) if picture.format == "JPEG" else 1) > USUAL_PIXELS
