"""A small picture file cannot ask for more than five seconds and one GiB; its cost is counted before it is decoded."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from pairlens.core import decoding_budget
from pairlens.core.decoding_budget import PictureBytes, check_scans
from pairlens.core.images import decode, load_image, reduce_to_square


def with_scans(side, scans):
    """A progressive JPEG whose last scan, which changes nothing, is repeated."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 10, 60)).save(buffer, "JPEG", progressive=True)
    jpeg = buffer.getvalue()
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * scans + jpeg[-2:]


def png(side, bits, colour, channels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(side * (1 + side * channels * bits // 8)))
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_of_jpeg(side, scans):
    """A TIFF with one strip, which is a JPEG."""
    strip = with_scans(side, scans)
    entries = [
        (256, 4, side), (257, 4, side), (259, 3, 7), (262, 3, 6), (273, 4, 200), (277, 3, 3), (278, 4, side),
        (279, 4, len(strip)), (258, 3, 8),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + strip


def qoi(side):
    header = b"qoif" + struct.pack(">IIBB", side, side, 3, 0)
    return header + b"\xfd" * (side * side // 62 + 1) + bytes(7) + b"\1"


# A file, and what the sentence about it says.
COSTLY = {
    "250 scans": (lambda: with_scans(3000, 250), "scans of 9,000,000 pixels"),
    "250 scans in a TIFF": (
        lambda: tiff_of_jpeg(3000, 250),
        "scans of 9,000,000 pixels|cannot be read as a picture",
    ),
    "16-bit transparent PNG": (lambda: png(9500, 16, 6, 4), "GB to decode"),
    "8-bit transparent PNG": (lambda: png(9500, 8, 6, 4), "GB to decode"),
    "16-bit grey PNG": (lambda: png(9500, 16, 0, 1), "GB to decode"),
    "run lengths in a QOI": (lambda: qoi(9900), "GB to decode"),
    "QOI of noise": (lambda: b"qoif" + struct.pack(">IIBB", 2500, 2500, 3, 0) + b"\xfe123" * 6_000_000, "s to decode"),
    "PPM in words": (lambda: b"P3 9000 9000 255\n" + b"1 " * 9, "GB to decode"),
    "PGM in words": (lambda: b"P2 5000 5000 255\n" + b"1 " * 25_000_000, "s to decode"),
    "PBM in words": (lambda: b"P1 9000 9000\n" + b"1 " * 9, "GB to decode"),
}


@pytest.mark.parametrize("row", COSTLY)
def test_a_costly_picture_is_refused_before_it_is_decoded(row, tmp_path):
    contents, message = COSTLY[row]
    file = tmp_path / "photo.jpg"
    file.write_bytes(contents())
    tracemalloc.start()
    start = time.process_time()
    for read in (load_image, lambda source: reduce_to_square(source, 8)):
        with pytest.raises(ValueError, match=message):
            read(file)
    # NumPy and Python count their memory; the file itself lies in it.
    assert tracemalloc.get_traced_memory()[1] < 4 * file.stat().st_size + 50_000_000
    tracemalloc.stop()
    assert time.process_time() - start < 5


def test_a_catalog_with_a_costly_jpeg_is_refused():
    jpeg = with_scans(3000, 250)
    with pytest.raises(ValueError, match=r"scans of 9,000,000 pixels.*; prepare the data set again"):
        decode([jpeg], 8)


def test_the_files_of_photographers_are_decoded():
    """Progressive JPEGs have about 10 scans, also of 100 million pixels."""
    check_scans(with_scans(8, 4), 100_000_000)
    assert load_image(with_scans(500, 30)).size == (500, 500)
    assert load_image(png(300, 16, 6, 4)).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(qoi(300)).size == (300, 300)


def test_transparency_is_blended_in_blocks_as_it_was_at_once():
    layers = Image.fromarray(np.random.default_rng(0).integers(0, 255, (1200, 1000, 4), dtype=np.uint8))
    buffer = io.BytesIO()
    layers.save(buffer, "PNG")
    expected = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    assert np.array_equal(np.array(load_image(buffer.getvalue())), np.array(expected))


def test_a_clock_ends_what_is_not_foreseen(monkeypatch):
    monkeypatch.setattr(decoding_budget, "SECONDS", 0.0)
    slow = PictureBytes(b"x" * 4000)
    slow.end = time.thread_time() - 1
    with pytest.raises(ValueError, match="seconds to decode"):
        [slow.read(1) for _ in range(1000)]
