import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from pairlens.core import jpeg
from pairlens.core.jpeg import PixelBuffer, decode_jpeg, decode_jpeg_fast, encode_jpeg

RNG = np.random.default_rng(0)


def _file(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _smooth(height=61, width=45):
    small = Image.fromarray(RNG.integers(0, 256, (7, 5, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _pillow(jpeg):
    return np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))


COMMON = {
    "4:2:0": _file(_smooth(), quality=95),
    "4:2:2": _file(_smooth(), quality=80, subsampling=1),
    "4:4:4": _file(_smooth(), quality=95, subsampling=0),
    "optimised": _file(_smooth(), optimize=True),
    "progressive": _file(_smooth(), progressive=True),
    "restarts": _file(_smooth(), restart_marker_rows=1),
    "grey": _file(_smooth().convert("L")),
    "rgb": _file(_smooth(), keep_rgb=True),
    "one pixel": _file(_smooth(1, 1)),
    "wide": _file(_smooth(1, 300)),
    "noise": _file(Image.fromarray(RNG.integers(0, 256, (50, 50, 3), np.uint8)), quality=30),
}


@pytest.mark.parametrize("kind", COMMON)
def test_pixels_equal_those_of_pillow(kind):
    pixels = decode_jpeg_fast(COMMON[kind], PixelBuffer())
    assert pixels is not None
    assert np.array_equal(pixels, _pillow(COMMON[kind]))


def test_pixels_of_real_photos_equal_those_of_pillow(shared):
    with tarfile.open(shared / "cub200_2010_ten.tar") as archive:
        members = [m for m in archive.getmembers() if m.name.endswith(".jpg")][::20]
        photos = [archive.extractfile(member).read() for member in members]
    buffer = PixelBuffer()
    assert len(photos) == 15
    for photo in photos:
        assert np.array_equal(decode_jpeg_fast(photo, buffer), _pillow(photo))


def test_cmyk_is_decoded_by_pillow():
    jpeg = _file(_smooth().convert("CMYK"))
    assert decode_jpeg_fast(jpeg, PixelBuffer()) is None
    assert np.array_equal(decode_jpeg(jpeg, PixelBuffer()), _pillow(jpeg))


def test_a_damaged_jpeg_that_pillow_reads_is_read():
    intact = _file(_smooth(200, 200))
    middle = len(intact) // 2
    damaged = intact[:middle] + b"\xff\x01" + intact[middle:]
    assert decode_jpeg_fast(damaged, PixelBuffer()) is None
    assert np.array_equal(decode_jpeg(damaged, PixelBuffer()), _pillow(damaged))


@pytest.mark.parametrize("jpeg", [b"", b"nothing", b"\xff\xd8\xff", COMMON["noise"][:700], COMMON["noise"][:200]])
def test_a_file_that_cannot_be_decoded_is_a_value_error(jpeg):
    with pytest.raises(ValueError, match=r"."):
        decode_jpeg(jpeg, PixelBuffer())


def _with_stated_size(side):
    """A small JPEG whose header states a size of side × side pixels."""
    jpeg = bytearray(COMMON["4:2:0"])
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = side.to_bytes(2, "big") * 2
    return bytes(jpeg)


@pytest.mark.parametrize("side", [10_001, 14_000, 65_500])
def test_too_many_stated_pixels_are_an_error_before_memory_is_allocated(side, monkeypatch):
    monkeypatch.setattr(PixelBuffer, "reserve", lambda *_: pytest.fail("memory was reserved"))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("the picture was decoded"))
    with pytest.raises(ValueError, match="pixels"):
        decode_jpeg(_with_stated_size(side), PixelBuffer())


def test_a_buffer_is_reused_but_not_kept_for_a_huge_picture(monkeypatch):
    buffer = PixelBuffer()
    first = decode_jpeg(COMMON["4:2:0"], buffer)
    assert np.shares_memory(first, decode_jpeg(COMMON["grey"], buffer))
    monkeypatch.setattr(jpeg, "_MAX_BUFFER_BYTES", 100)
    assert not np.shares_memory(first, decode_jpeg(COMMON["4:2:0"], buffer))


def test_encoding_and_decoding_gives_nearly_the_same_pixels():
    pixels = np.array(_smooth(64, 64))
    decoded = decode_jpeg(encode_jpeg(pixels, 95), PixelBuffer())
    assert np.abs(decoded.astype(int) - pixels).mean() < 2
    assert len(encode_jpeg(pixels, 50)) < len(encode_jpeg(pixels, 95))
