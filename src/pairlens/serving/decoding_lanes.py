"""Where photos are decoded: a costly one waits for other costly ones, and for nobody else does."""

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from pairlens.core.freed_memory import give_memory_back
from pairlens.core.image_formats import readable_formats

Result = TypeVar("Result")
# Most photos are below all of these; decoding what is above them takes a second and more, or hundreds of megabytes.
USUAL_BYTES, USUAL_PIXELS, USUAL_SCANNED_PIXELS = 16 << 20, 25_000_000, 300_000_000
_QUICK_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_QUICK_PIXELS = 4_000_000
_SCAN = b"\xff\xda"
# How much later than others a costly photo gets a core, as `nice` counts.
_NICENESS = 10


class DecodingLanes:
    """Decodes a few usual photos and one costly photo at a time, in threads of its own.

    A thread keeps the memory into which it has decoded its largest picture. So there are few of them, and a costly photo
    gets a new one, which ends with it.
    """

    def __init__(self) -> None:
        """Make as many lanes as the machine has cores."""
        self._usual = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "pairlens decoding")
        self._costly = threading.Lock()

    def run(self, contents: bytes, work: Callable[[], Result]) -> Result:
        """Return what a function returns that decodes a picture file, once there is room for it."""
        if not is_costly(contents):
            return self._usual.submit(work).result()
        with self._costly, ThreadPoolExecutor(1, "pairlens costly decoding", _step_back) as thread:
            try:
                return thread.submit(work).result()
            finally:
                give_memory_back()

    def close(self) -> None:
        """End the threads once they have nothing to do."""
        self._usual.shutdown()


def _step_back() -> None:
    """Let other threads be first; only Linux has a priority for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


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
    scans = contents.count(_SCAN) if picture.format == "JPEG" else 1
    return pixels > USUAL_PIXELS or pixels * scans > USUAL_SCANNED_PIXELS
