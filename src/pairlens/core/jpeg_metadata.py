"""The two facts about a JPEG file that its pixels depend on: EXIF orientation and colour profile."""

from collections.abc import Iterator
from dataclasses import dataclass

from pairlens.core.colour_profile import MAX_PROFILE_BYTES
from pairlens.core.orientation import UPRIGHT, exif_orientation

JPEG_START = b"\xff\xd8"
# Second bytes of markers: APP1 with EXIF, APP2 with a part of the colour profile, start of the compressed pixels.
_APP1 = 0xE1
_APP2 = 0xE2
_PIXELS_START = 0xDA
_EXIF = b"Exif\0\0"
# The name is followed by the number of the part, counted from 1, and by the number of parts.
_PROFILE = b"ICC_PROFILE\0"
_MAX_SEGMENTS = 20_000


@dataclass(frozen=True)
class JpegMetadata:
    """EXIF orientation, 1 to 8, and colour profile of a JPEG file; an empty profile if it has none."""

    orientation: int = UPRIGHT
    profile: bytes = b""


def read_jpeg_metadata(jpeg: bytes) -> JpegMetadata | None:
    """Return the metadata of a JPEG file; None if its segments cannot be followed up to the pixels."""
    orientation = UPRIGHT
    parts: dict[int, bytes] = {}
    try:
        for marker, content in _segments(jpeg):
            if marker == _APP1 and content.startswith(_EXIF) and orientation == UPRIGHT:
                orientation = exif_orientation(content)
            if marker == _APP2 and content.startswith(_PROFILE) and len(content) > len(_PROFILE) + 2:
                parts[content[len(_PROFILE)]] = content[len(_PROFILE) + 2 :]
    except (IndexError, ValueError):
        return None
    profile = b"".join(parts[number] for number in sorted(parts))
    return JpegMetadata(orientation, profile if len(profile) <= MAX_PROFILE_BYTES else b"")


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment before the pixels; contents of other segments are empty.

    Raises:
        IndexError: if the file ends before the pixels.
        ValueError: if a segment does not begin with a marker, or there are too many.
    """
    position = len(JPEG_START)
    for _ in range(_MAX_SEGMENTS):
        if jpeg[position] != 0xFF:
            raise ValueError("a segment does not begin with a marker")
        # A marker may be preceded by any number of fill bytes.
        while jpeg[position + 1] == 0xFF:
            position += 1
        marker = jpeg[position + 1]
        if marker == _PIXELS_START:
            return
        # The length counts its own two bytes, but not the marker.
        length = int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if length < 2:
            raise ValueError("a segment is shorter than its length")
        yield marker, jpeg[position + 4 : position + 2 + length] if marker in (_APP1, _APP2) else b""
        position += 2 + length
    raise ValueError("too many segments")
