"""JPEG decoding and encoding by libjpeg-turbo, into reused memory."""

import io
import threading
import warnings

import numpy as np
import simplejpeg
from PIL import Image

from pairlens.core.decoding_budget import check_scans

PIXEL_LIMIT = 100_000_000
# A JPEG that is reduced while it is decoded may have this multiple of the limit; telephones reach 200 million pixels.
REDUCED_LIMITS = 4
# `prepare` stores no larger pictures. Larger ones in an untrusted catalog would fill the memory of every loader thread.
STORED_PIXEL_LIMIT = 4096 * 4096

Jpeg = bytes | bytearray | memoryview

_MAX_BUFFER_BYTES = 64_000_000
# Colour spaces that libjpeg-turbo converts to the same RGB pixels as Pillow; its CMYK differs.
_FAST_COLOURS = ("YCbCr", "Gray", "RGB")


class _Quiet:
    """Suppresses warnings while at least one thread is inside; warning filters belong to the whole process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads_inside = 0
        self.filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        # Two threads that each used `catch_warnings` could restore the filters of the other one.
        with self.lock:
            if not self.threads_inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.threads_inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.threads_inside -= 1
            if not self.threads_inside:
                self.filters.__exit__(None, None, None)


QUIET = _Quiet()


class PixelBuffer(threading.local):
    """Memory for the pixels of one picture per thread; the next picture of the thread overwrites it.

    New memory costs more than decoding into it, because the system allocates and clears it page by page.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)

    def reserve(self, height: int, width: int) -> np.ndarray:
        """Return uninitialised memory of (height, width, 3)."""
        needed = height * width * 3
        # A buffer for one huge photo would stay allocated as long as its thread.
        if needed > _MAX_BUFFER_BYTES:
            return np.empty((height, width, 3), np.uint8)
        if len(self.memory) < needed:
            self.memory = np.empty(needed, np.uint8)
        return self.memory[:needed].reshape(height, width, 3)


def decode_jpeg_fast(jpeg: Jpeg, buffer: PixelBuffer, limit: int = PIXEL_LIMIT) -> np.ndarray | None:
    """Return the RGB pixels of an intact, common JPEG file in the buffer, the same as Pillow's; None for any other file.

    Shapes:
        result: uint8 (height, width, 3).
    """
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
        height = int(rows)
        width = int(columns)
        if colours not in _FAST_COLOURS or height * width > limit:
            return None
        check_scans(jpeg, height * width)
        return simplejpeg.decode_jpeg(jpeg, buffer=buffer.reserve(height, width))
    except ValueError:
        return None


def decode_jpeg_reduced(jpeg: Jpeg, limit: int = PIXEL_LIMIT) -> tuple[int, np.ndarray] | None:
    """Return a JPEG with more pixels than the limit, reduced while it is decoded; None for any other file.

    The whole picture is never in memory, but for the coefficients of a progressive file.

    Shapes:
        result: 2, 4 or 8, and uint8 (height, width, 3) with both sides divided by it, rounded up.
    """
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
        pixels = int(rows) * int(columns)
        if colours not in _FAST_COLOURS or not limit < pixels <= REDUCED_LIMITS * limit:
            return None
        # The coefficients of all pixels are decoded, however few of them are kept.
        check_scans(jpeg, pixels)
        factor = next(factor for factor in (2, 4, 8) if pixels <= limit * factor**2)
        height = -(-int(rows) // factor)
        width = -(-int(columns) // factor)
        return factor, simplejpeg.decode_jpeg(jpeg, min_height=height, min_width=width)
    except ValueError:
        return None


def decode_jpeg(jpeg: Jpeg, buffer: PixelBuffer) -> np.ndarray:
    """Return the RGB pixels of any JPEG file of a catalog, in the buffer unless Pillow has to decode it.

    Shapes:
        result: uint8 (height, width, 3).

    Raises:
        ValueError: if it is not a JPEG, is damaged, or has more than `STORED_PIXEL_LIMIT` pixels.
    """
    pixels = decode_jpeg_fast(jpeg, buffer, STORED_PIXEL_LIMIT)
    return _decode_jpeg_with_pillow(jpeg) if pixels is None else pixels


def _decode_jpeg_with_pillow(jpeg: Jpeg) -> np.ndarray:
    try:
        with QUIET, Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            pixels = image.width * image.height
            # `open` has read the header only; the conversion allocates the memory.
            if pixels <= STORED_PIXEL_LIMIT:
                check_scans(jpeg, pixels)
                return np.array(image.convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise ValueError("it does not begin like a JPEG file") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"{pixels:,} pixels, more than {STORED_PIXEL_LIMIT:,}")


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return (height, width, 3) RGB pixels as a JPEG file with colour at half the resolution (4:2:0)."""
    # Not by Pillow, which holds the global interpreter lock while it encodes into memory and so stops other threads.
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420")
