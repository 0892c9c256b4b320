"""Repair of picture files whose pixels are sound: damaged metadata are left out, a missing end marker is added."""

import re
import zlib
from collections.abc import Iterator

import simplejpeg

from pairlens.core.decoding_budget import check_scans
from pairlens.core.jpeg_metadata import JPEG_START

MISSING_END = "file without end marker"
DAMAGED_METADATA = "file with damaged metadata"

_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
# The chunks of a PNG file that its pixels depend on, then those that say how it is turned and coloured.
_PNG_PIXELS = b"IHDR|PLTE|tRNS|IDAT|IEND"
_PNG_OTHERS = b"eXIf|iCCP"
_WEBP_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")
# What the flags of a WebP file keep: that it has transparency.
_WEBP_ALPHA = 0x10
# Frame headers are preceded by these segments; a thumbnail in the metadata has them, too.
_JPEG_TABLES = re.compile(rb"\xff[\xdb\xc4\xc0-\xc2]\x00")
_MAX_STARTS = 64


def repaired_files(contents: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what may repair a file that cannot be read: what it is counted as, and the repaired file.

    Only what is not pixels is repaired: a JPEG whose pixels are cut short is not among the results.
    """
    if contents.startswith(JPEG_START):
        complete = contents + _JPEG_END
        if _has_all_pixels(complete):
            yield MISSING_END, complete
        largest = _largest_frame(contents)
        if largest is not None and _has_all_pixels(largest):
            yield DAMAGED_METADATA, largest
    else:
        for stripped in _without_metadata(contents):
            yield DAMAGED_METADATA, stripped


def _has_all_pixels(jpeg: bytes) -> bool:
    """Whether a JPEG file is decoded without a warning, and its last scan is complete."""
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(jpeg)
        check_scans(jpeg, int(rows) * int(columns))
        target = "CMYK" if colours in ("CMYK", "YCCK") else "RGB"
        # At an eighth of the size every coefficient is still read, in a fraction of the memory.
        simplejpeg.decode_jpeg(jpeg, target, min_height=max(1, int(rows) // 8), min_width=max(1, int(columns) // 8))
    except ValueError:
        return False
    return _has_all_scans(jpeg)


def _has_all_scans(jpeg: bytes) -> bool:
    """Whether the scans of a progressive JPEG hold every bit of every coefficient; others have one scan.

    A file that was cut between two scans decodes without a warning, but blurred.
    """
    if re.search(rb"\xff\xc2\x00.\x08", jpeg, re.DOTALL) is None:
        return True
    wanted: set[tuple[int, int]] = set()
    finished: set[tuple[int, int]] = set()
    # A scan header: its length, the number of its components, two bytes for each, first and last coefficient, bits.
    for match in re.finditer(rb"\xff\xda\x00[\x08\x0a\x0c\x0e]([\x01-\x04])", jpeg):
        components = match[1][0]
        chosen = jpeg[match.end() : match.end() + 2 * components : 2]
        header = jpeg[match.end() + 2 * components : match.end() + 2 * components + 3]
        if len(header) < 3:
            return False
        first, last, bits = header
        wanted |= {(component, place) for component in chosen for place in (0, 63)}
        if bits & 0x0F == 0:
            finished |= {(component, place) for component in chosen for place in (0, 63) if first <= place <= last}
    return wanted == finished


def _largest_frame(contents: bytes) -> bytes | None:
    """Return a JPEG file that begins with the tables of the largest picture in a damaged file; None if there is none."""
    largest: tuple[int, bytes] | None = None
    for count, match in enumerate(_JPEG_TABLES.finditer(contents)):
        if count == _MAX_STARTS:
            break
        candidate = JPEG_START + contents[match.start() :]
        try:
            rows, columns, *_ = simplejpeg.decode_jpeg_header(candidate)
        except ValueError:
            continue
        # The first of equal ones: later ones lack a table.
        pixels = int(rows) * int(columns)
        if largest is None or pixels > largest[0]:
            largest = (pixels, candidate)
    return None if largest is None else largest[1]


def _without_metadata(contents: bytes) -> Iterator[bytes]:
    if contents.startswith(_PNG_START):
        # First with the chunks for orientation and colour profile: they may be sound.
        for names in (_PNG_PIXELS + b"|" + _PNG_OTHERS, _PNG_PIXELS):
            yield _PNG_START + b"".join(_sound_chunks(contents, names))
    if contents.startswith(b"RIFF") and contents[8:12] == b"WEBP":
        chunks = b"".join(_webp_chunks(contents))
        yield b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks


def _sound_chunks(png: bytes, names: bytes) -> Iterator[bytes]:
    """Yield the chunks of a PNG file that have one of the names and the right checksum, wherever they are."""
    position = 0
    # A hostile file may hold many names of chunks with large lengths; a real one is checked about once.
    budget = 4 * len(png)
    for match in re.finditer(names, png):
        start = match.start() - 4
        length = int.from_bytes(png[max(start, 0) : match.start()], "big")
        end = match.end() + length
        if start < max(position, len(_PNG_START)) or end + 4 > len(png) or length > budget:
            continue
        budget -= length
        if zlib.crc32(png[match.start() : end]) == int.from_bytes(png[end : end + 4], "big"):
            position = end + 4
            yield png[start:position]


def _webp_chunks(webp: bytes) -> Iterator[bytes]:
    """Yield the chunks of a still WebP file that hold pixels, after a header without metadata if it had one."""
    position = 12
    while position + 8 <= len(webp):
        name = webp[position : position + 4]
        length = int.from_bytes(webp[position + 4 : position + 8], "little")
        # Chunks of odd length are followed by one byte.
        end = position + 8 + length + length % 2
        if name == b"VP8X":
            yield webp[position : position + 8] + bytes([webp[position + 8] & _WEBP_ALPHA]) + webp[position + 9 : end]
        elif name in _WEBP_PIXELS:
            yield webp[position:end]
        position = end
