"""What the decoding of one picture may cost: 5 seconds of one core and 1 GiB, checked before the pixels are decoded.

A small file can ask for any amount of work: a progressive JPEG of 340 KB may have a thousand scans, each over all pixels,
and a run-length code writes millions of pixels with a few bytes. The checks count what the file asks for, so that the same
file is accepted or refused on every machine; a clock ends what they do not foresee.
"""

import io
import time
from dataclasses import dataclass

from PIL import Image

SECONDS = 5.0
# Also the limit of the file itself, which lies in memory while it is decoded.
BYTES = 1 << 30
# A scan that changes nothing takes 0.4 ns per pixel, and Pillow repeats what libjpeg-turbo refuses: this is 2 s. A photo
# of 100 million pixels has about 10 scans.
SCAN_PIXELS = 2_000_000_000
# The marker with which each scan of a JPEG begins. Within compressed data a byte 0xff is followed by 0x00.
_SCAN = b"\xff\xda"
# A read is shorter than a tenth of a millisecond, so the clock need not be asked each time.
_READS_PER_CHECK = 256


class TooCostlyError(ValueError):
    """A picture would cost more than its budget to decode; no repair makes it cheaper."""


@dataclass(frozen=True)
class DecodingCost:
    """What a format costs in the decoders of Pillow, measured on one core.

    Attributes:
        pixel_bytes: peak memory per pixel beside the file: Pillow's picture (4), the RGB array (3), its resizing (3), and
            the copies that a decoder makes.
        seconds_per_byte: of the file, for the formats that are decoded in Python or are slow for another reason.
    """

    pixel_bytes: int
    seconds_per_byte: float = 0.0


USUAL = DecodingCost(10)
COSTS = {
    "QOI": DecodingCost(24, 2.8e-7),
    "JPEG2000": DecodingCost(20, 1.3e-7),
    "WEBP": DecodingCost(18),
    "AVIF": DecodingCost(17),
}
# The three formats of PPM that write their numbers as text.
PLAIN_PPM = (b"P1", b"P2", b"P3")
COST_OF_PLAIN_PPM = DecodingCost(25, 1.3e-7)
# Bytes per pixel of the second picture that transparent and deep grey ones become.
SECOND_PICTURE = 8


class PictureBytes(io.BytesIO):
    """The contents of a picture file, whose reads end with an error when the seconds of its budget are used up."""

    def __init__(self, contents: bytes) -> None:
        super().__init__(contents)
        # Time of this thread alone, because many threads decode at the same time.
        self.end = time.thread_time() + SECONDS
        self.reads = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; raises ValueError if decoding has taken too long."""
        self.reads += 1
        if (self.reads % _READS_PER_CHECK == 0 or (size or 0) > _READS_PER_CHECK) and time.thread_time() > self.end:
            raise TooCostlyError(f"it takes more than {SECONDS:g} seconds to decode")
        return super().read(size)


def check_scans(jpeg: bytes | bytearray | memoryview, pixels: int) -> None:
    """Raise ValueError if the scans of a JPEG have more pixels together than its budget of seconds allows."""
    scans = bytes(jpeg).count(_SCAN)
    if scans * pixels > SCAN_PIXELS:
        raise TooCostlyError(
            f"it has {scans:,} scans of {pixels:,} pixels, more than is decoded; save it as a baseline JPEG"
        )


def check_budget(image: Image.Image, contents: bytes) -> None:
    """Raise ValueError if an open picture, whose header alone is read, would cost more than its budget to decode."""
    pixels = image.width * image.height
    is_plain = image.format == "PPM" and contents.startswith(PLAIN_PPM)
    cost = COST_OF_PLAIN_PPM if is_plain else COSTS.get(image.format or "", USUAL)
    needed = pixels * (cost.pixel_bytes + (SECOND_PICTURE if _needs_second_picture(image) else 0)) + len(contents)
    if needed > BYTES:
        raise TooCostlyError(f"it needs {needed / 1e9:.1f} GB to decode, more than {BYTES / 1e9:.1f} GB; shrink it")
    seconds = len(contents) * cost.seconds_per_byte
    if seconds > SECONDS:
        raise TooCostlyError(f"it needs {seconds:.0f} s to decode, more than {SECONDS:g} s; save it as JPEG or PNG")
    # A TIFF may hold its pixels as JPEG.
    if image.format in ("JPEG", "MPO") or "jpeg" in str(image.info.get("compression", "")):
        check_scans(contents, pixels)


def _needs_second_picture(image: Image.Image) -> bool:
    return image.has_transparency_data or image.mode in ("I", "F") or image.mode.startswith("I;16")
