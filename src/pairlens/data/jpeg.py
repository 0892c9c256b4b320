"""JPEG files to pixels and back, by libjpeg-turbo, in memory that is used again."""

import io
import threading
import warnings

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

PIXEL_LIMIT = 100_000_000
# No catalog holds larger ones; a stranger's, which does, would fill the memory of every loader thread.
STORED_PIXEL_LIMIT = 4096 * 4096

Jpeg = bytes | bytearray | memoryview

_KEPT_BYTES = 64_000_000
# What libjpeg-turbo turns into RGB with the pixels of Pillow; CMYK it would not turn into the same.
_FAST_COLOURS = ("YCbCr", "Gray", "RGB")


class _Quiet:
    """No warnings while at least one thread is inside; the filters belong to the whole process."""

    def __init__(self) -> None:
        self.lock, self.inside, self.filters = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


QUIET = _Quiet()


class PixelBuffer(threading.local):
    """Memory for one picture at a time, each thread's own; the next picture is written over the last.

    Fresh memory costs more than decoding into it: the system hands it out, and clears it, page by page.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)

    def place(self, height: int, width: int) -> np.ndarray:
        """Return room for height × width × 3 bytes, with anything in it."""
        needed = height * width * 3
        if needed > _KEPT_BYTES:
            return np.empty((height, width, 3), np.uint8)
        if len(self.memory) < needed:
            self.memory = np.empty(needed, np.uint8)
        return self.memory[:needed].reshape(height, width, 3)


def decode_jpeg_fast(jpeg: Jpeg, desk: PixelBuffer, limit: int = PIXEL_LIMIT) -> np.ndarray | None:
    """Return the pixels of a sound, usual JPEG file on the desk, None for any other; they are the same as Pillow's.

    Shapes:
        result: uint8 [height, width, 3].
    """
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
        height, width = int(rows), int(columns)
        if colours not in _FAST_COLOURS or height * width > limit:
            return None
        return simplejpeg.decode_jpeg(jpeg, buffer=desk.place(height, width))
    except ValueError:
        return None


def decode_jpeg(jpeg: Jpeg, desk: PixelBuffer) -> np.ndarray:
    """Return the RGB pixels of any JPEG file of a catalog, on the desk if they can be there.

    Shapes:
        result: uint8 [height, width, 3].

    Raises:
        ValueError: if it is none or damaged, or has more than `STORED_PIXEL_LIMIT` pixels.
    """
    quick = decode_jpeg_fast(jpeg, desk, STORED_PIXEL_LIMIT)
    return _decode_jpeg_with_pillow(jpeg) if quick is None else quick


def _decode_jpeg_with_pillow(jpeg: Jpeg) -> np.ndarray:
    try:
        with QUIET, Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            pixels = image.width * image.height
            if pixels <= STORED_PIXEL_LIMIT:
                return np.array(image.convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise ValueError("it does not begin as one") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"{pixels:,} pixels, more than {STORED_PIXEL_LIMIT:,}")


def resize_to_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the pixels at size × size, bilinear with antialiasing; the aspect ratio is not kept."""
    if pixels.shape[:2] == (size, size):
        return pixels
    planes = functional.resize(torch.from_numpy(pixels).permute(2, 0, 1), [size, size], antialias=True)
    return planes.permute(1, 2, 0).numpy()


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return RGB pixels as a JPEG file with colour at half the resolution (4:2:0), as is usual.

    Not by Pillow, which keeps Python's lock while it encodes into memory.
    """
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420")
