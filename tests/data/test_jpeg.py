import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from pairlens.data import jpeg
from pairlens.data.jpeg import PixelBuffer, decode_jpeg, decode_jpeg_fast, encode_jpeg, resize_to_square

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


QUICK = {
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


@pytest.mark.parametrize("kind", QUICK)
def test_pixels_are_those_of_pillow(kind):
    quick = decode_jpeg_fast(QUICK[kind], PixelBuffer())
    assert quick is not None
    assert np.array_equal(quick, _pillow(QUICK[kind]))


def test_pixels_of_real_photos_are_those_of_pillow(shared):
    with tarfile.open(shared / "cub200_2010_ten.tar") as archive:
        members = [m for m in archive.getmembers() if m.name.endswith(".jpg")][::20]
        photos = [archive.extractfile(member).read() for member in members]
    desk = PixelBuffer()
    assert len(photos) == 15
    for photo in photos:
        assert np.array_equal(decode_jpeg_fast(photo, desk), _pillow(photo))


def test_inverted_colours_are_left_to_pillow():
    jpeg = _file(_smooth().convert("CMYK"))
    assert decode_jpeg_fast(jpeg, PixelBuffer()) is None
    assert np.array_equal(decode_jpeg(jpeg, PixelBuffer()), _pillow(jpeg))


def test_what_pillow_forgives_is_forgiven():
    whole = _file(_smooth(200, 200))
    place = len(whole) // 2
    flawed = whole[:place] + b"\xff\x01" + whole[place:]
    assert decode_jpeg_fast(flawed, PixelBuffer()) is None
    assert np.array_equal(decode_jpeg(flawed, PixelBuffer()), _pillow(flawed))


@pytest.mark.parametrize("jpeg", [b"", b"nothing", b"\xff\xd8\xff", QUICK["noise"][:700], QUICK["noise"][:200]])
def test_a_damaged_file_is_a_value_error(jpeg):
    with pytest.raises(ValueError, match=r"."):
        decode_jpeg(jpeg, PixelBuffer())


def _claiming(side):
    jpeg = bytearray(QUICK["4:2:0"])
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = side.to_bytes(2, "big") * 2
    return bytes(jpeg)


@pytest.mark.parametrize("side", [10_001, 14_000, 65_500])
def test_a_claim_of_too_many_pixels_is_refused_before_there_is_room_for_them(side, monkeypatch):
    monkeypatch.setattr(PixelBuffer, "place", lambda *_: pytest.fail("room was made"))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("unpacked"))
    with pytest.raises(ValueError, match="pixels"):
        decode_jpeg(_claiming(side), PixelBuffer())


def test_a_desk_is_used_again_but_not_kept_for_a_huge_picture(monkeypatch):
    desk = PixelBuffer()
    first = decode_jpeg(QUICK["4:2:0"], desk)
    assert np.shares_memory(first, decode_jpeg(QUICK["grey"], desk))
    monkeypatch.setattr(jpeg, "_KEPT_BYTES", 100)
    assert not np.shares_memory(first, decode_jpeg(QUICK["4:2:0"], desk))


def test_packing_and_unpacking_gives_nearly_the_same_pixels():
    pixels = np.array(_smooth(64, 64))
    again = decode_jpeg(encode_jpeg(pixels, 95), PixelBuffer())
    assert np.abs(again.astype(int) - pixels).mean() < 2
    assert len(encode_jpeg(pixels, 50)) < len(encode_jpeg(pixels, 95))


def test_squashing_is_that_of_pillow_to_a_level():
    pixels = np.array(_smooth(111, 83))
    expected = np.asarray(Image.fromarray(pixels).resize((40, 40), Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(resize_to_square(pixels, 40) - expected).max() <= 1
    assert np.array_equal(
        resize_to_square(pixels[::1, 3:70], 40), resize_to_square(np.ascontiguousarray(pixels[:, 3:70]), 40)
    )
