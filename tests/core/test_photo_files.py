"""Photos as cameras, scanners and programs write them: turned, with profiles, of many bits, and slightly damaged."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageCms

from pairlens.core import image_formats, images
from pairlens.core.boxes import ShareBox
from pairlens.core.damaged_files import DAMAGED_METADATA, MISSING_END
from pairlens.core.deep_pixels import Depth, read_largest_value
from pairlens.core.images import as_rgb, encode, load_image, read_picture, reduce_photo, reduce_to_square
from pairlens.core.orientation import exif_orientation
from pairlens.core.photo_reading import PhotoReading

TRANSPOSE = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _scene():
    """Four quarters of different colours, 64 × 48 pixels."""
    image = Image.new("RGB", (64, 48), (220, 60, 40))
    image.paste((60, 200, 80), (32, 0, 64, 24))
    image.paste((50, 70, 210), (0, 24, 32, 48))
    image.paste((230, 220, 90), (32, 24, 64, 48))
    return image


def _noise(size=(64, 48), seed=0):
    # Not by Pillow's `effect_noise`, whose pictures depend on what other tests have drawn in the same process.
    grey = np.random.default_rng(seed).normal(128, 80, (size[1], size[0])).clip(0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _difference(first, second):
    return np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max()


# --- Orientation ---------------------------------------------------------------------------------------------------


def _exif(orientation, others=(), order=">"):
    """An EXIF block of the orientation and other entries (tag, type, count, four bytes of value), sorted by tag."""
    value = struct.pack(order + "H", orientation) + b"\0\0"
    entries = sorted([(0x0112, 3, 1, value), *others])
    mark = b"MM\0*" if order == ">" else b"II*\0"
    block = mark + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, content in entries:
        block += struct.pack(order + "HHI", tag, kind, count) + content
    return b"Exif\0\0" + block + bytes(4)


ODD_TAGS = {
    "resolution as text": [(0x011A, 2, 4, b"abc\0")],
    "negative width": [(0x0100, 9, 1, struct.pack(">i", -5))],
    "division by zero": [(0x9204, 10, 1, struct.pack(">I", 8))],
    "offset behind the end": [(0x010F, 2, 40, struct.pack(">I", 1 << 30))],
    "unknown type": [(0x0110, 99, 1, bytes(4))],
    "maker note": [(0x927C, 7, 1 << 20, bytes(4))],
}


@pytest.mark.parametrize("orientation", TRANSPOSE)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_each_orientation_in_each_format_that_has_it(kind, orientation):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    if kind == "TIFF":
        source = _file(_scene(), kind, tiffinfo={0x0112: orientation})
    else:
        source = _file(_scene(), kind, exif=_exif(orientation), **options)
    method = TRANSPOSE[orientation]
    expected = _scene() if method is None else _scene().transpose(method)
    assert load_image(source).size == expected.size
    assert _difference(load_image(source), expected) <= (12 if kind == "JPEG" else 0)
    assert reduce_to_square(source, 16) == encode(load_image(source), 16)
    with Image.open(io.BytesIO(source)) as opened:
        assert _difference(as_rgb(opened), load_image(source)) == 0


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ODD_TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_other_tags_do_not_cost_the_turn(kind, name, order):
    exif = _exif(6, ODD_TAGS[name], order)
    assert load_image(_file(_scene(), kind, exif=exif)).size == (48, 64)


def test_a_tiff_with_odd_tags_is_turned():
    source = _file(_scene(), "TIFF", tiffinfo={0x0112: 6, 0x010E: "x" * 5000})
    assert load_image(source).size == (48, 64)


@pytest.mark.parametrize(
    "exif", [_exif(0), _exif(9), _exif(6)[:17], b"Exif\0\0MM\0*", b"Exif\0\0", b"Exif\0\0??\0*" + bytes(30)]
)
def test_an_orientation_that_is_not_one_leaves_the_photo(exif):
    assert load_image(_file(_scene(), "JPEG", exif=exif)).size == (64, 48)


def test_a_box_refers_to_the_upright_or_to_the_stored_frame():
    source = _file(_scene(), "PNG", exif=_exif(6))
    # Of the upright photo, 48 × 64, the first quarter of the stored picture (red) is the upper right one.
    upright = reduce_photo(source, 8, (24, 0, 48, 32))
    stored = reduce_photo(source, 8, (0, 0, 32, 24), reading=PhotoReading(box_frame="stored"))
    assert upright.jpeg == stored.jpeg
    assert _difference(load_image(upright.jpeg), Image.new("RGB", (8, 8), (220, 60, 40))) < 12
    assert reduce_photo(source, 8, ShareBox(0.5, 0, 1, 0.5)).jpeg == upright.jpeg


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_phone_formats_are_read_upright(kind):
    if kind not in image_formats.readable_formats():
        pytest.skip(f"{kind} is not read here")
    source = _file(_scene(), kind, quality=95)
    assert _difference(load_image(source).resize((4, 4)), _scene().resize((4, 4))) < 12
    turned = _file(_scene(), kind, quality=95, exif=_exif(6))
    with Image.open(io.BytesIO(turned)) as opened:
        upright = (48, 64) if exif_orientation(opened.info["exif"]) == 6 else opened.size
    # The HEIF library turns the pixels itself and says so in the EXIF that it returns.
    assert load_image(turned).size == upright


# --- Colour profiles -----------------------------------------------------------------------------------------------


def _profile(kind):
    """A profile whose colours are far from sRGB: XYZ of lcms, or L*a*b* which is none of RGB; or sRGB itself."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()


def _tag(name, content):
    return name, content + bytes(-len(content) % 4)


def _rgb_profile(primaries, gamma):
    """An ICC profile of version 2 with these primaries (XYZ at D50) and a gamma curve, as monitors have."""
    fixed = lambda value: struct.pack(">i", round(value * 65536))  # noqa: E731
    xyz = lambda values: b"XYZ \0\0\0\0" + b"".join(map(fixed, values))  # noqa: E731
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = [
        _tag(b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)),
        _tag(b"wtpt", xyz((0.9642, 1.0, 0.8249))),
        *(_tag(name, xyz(values)) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)),
        *(_tag(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
        _tag(b"cprt", b"text\0\0\0\0none\0"),
    ]
    position = 128 + 4 + 12 * len(tags)
    table, contents = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += name + struct.pack(">II", position + len(contents), len(content))
        contents += content
    size = 128 + len(table) + len(contents)
    head = struct.pack(">I", size) + b"lcms\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += xyz((0.9642, 1.0, 0.8249))[8:]
    return head + bytes(128 - len(head)) + table + contents


ADOBE = _rgb_profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)], 2.2)
P3 = _rgb_profile([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)], 2.2)


def _in_profile(image, profile):
    """The same scene with the numbers that a camera of this profile writes."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target, outputMode="RGB")


@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["adobe", "p3"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_two_profiles_of_one_scene_give_the_same_pixels(kind, profile):
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    stored = _in_profile(_scene(), profile)
    source = _file(stored, kind, icc_profile=profile, **options)
    raw = PhotoReading(convert_colours=False)
    # Inside of each quarter, where no edge is blurred.
    read, kept = (np.asarray(load_image(source, r), dtype=float)[4:20, 4:28] for r in (PhotoReading(), raw))
    assert np.abs(read.mean((0, 1)) - (220, 60, 40)).max() < 3
    assert np.abs(kept.mean((0, 1)) - np.asarray(stored)[10, 10]).max() < 2
    assert np.abs(kept.mean((0, 1)) - (220, 60, 40)).max() > 8
    assert reduce_to_square(source, 16) == encode(load_image(source), 16)
    assert reduce_to_square(source, 16, reading=raw) == encode(load_image(source, raw), 16)


@pytest.mark.parametrize(
    "profile", [_profile("sRGB"), b"damaged", ADOBE[:150], _profile("LAB"), ADOBE[:200] + b"\xff" * 300], ids=range(5)
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_profile_that_is_srgb_or_useless_leaves_the_pixels(kind, profile):
    with_profile = load_image(_file(_scene(), kind, icc_profile=profile))
    assert with_profile.tobytes() == load_image(_file(_scene(), kind)).tobytes()


def test_a_profile_of_rgb_does_not_change_grey_or_transparency():
    grey = _file(_scene().convert("L"), "PNG", icc_profile=ADOBE)
    assert load_image(grey).tobytes() == load_image(_file(_scene().convert("L"), "PNG")).tobytes()
    layers = _in_profile(_scene(), ADOBE)
    layers.putalpha(Image.new("L", layers.size, 128))
    half = np.asarray(load_image(_file(layers, "PNG", icc_profile=ADOBE)), dtype=float)[10, 10]
    assert np.abs(half - (np.array((220, 60, 40)) + 255) / 2).max() < 3


def test_a_jpeg_without_profile_is_not_touched_by_the_conversion(monkeypatch):
    monkeypatch.setattr(images, "to_srgb", lambda *_: pytest.fail("the colours were converted"))
    reduce_to_square(_file(_scene(), "JPEG", exif=_exif(6)), 8)


# --- More than 8 bits ----------------------------------------------------------------------------------------------


def _png(values):
    """A PNG file of 16 bits with one, two, three or four channels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, (b"IEND", b""), strict=True)))


def _chunk(name, content, crc=None):
    crc = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _tiff(values, compression, order):
    """A TIFF file of three colours of 16 bits, plain (1) or compressed (8)."""
    height, width, _ = values.shape
    contents = values.astype(order + "u2").tobytes()
    contents = zlib.compress(contents) if compression == 8 else contents
    bits, strip = 8 + 2 + 12 * 10 + 4, 8 + 2 + 12 * 10 + 10
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, compression), (262, 3, 1, 2),
        (273, 4, 1, strip), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(contents)), (284, 3, 1, 1),
    ]  # fmt: skip
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        file += struct.pack(
            order + ("HHIHH" if short else "HHII"), tag, kind, count, *([value, 0] if short else [value])
        )
    return file + bytes(4) + struct.pack(order + "HHH", 16, 16, 16) + contents


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
def test_colours_of_12_bits_in_a_tiff(order, compression):
    values = np.random.default_rng(0).integers(0, 4096, (9, 8, 3))
    values[0, 0] = 4095
    read = np.asarray(load_image(_tiff(values, compression, order)), dtype=int)
    assert np.abs(read - values * 255 / 4095).max() <= 0.5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_each_depth_uses_all_grey_levels(bits, channels, tmp_path):
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16)
    values = np.repeat(np.tile(ramp, (4, 1))[:, :, None], channels, axis=2)
    if channels in (2, 4):
        values[:, :, -1] = 2**bits - 1
    grey = np.asarray(load_image(_png(values)), dtype=int)[0, :, 0]
    # Pillow cuts 16-bit colours to their upper byte, and the others are rounded to the nearest level.
    assert np.abs(grey - np.arange(256)).max() <= 1
    assert len(set(grey.tolist())) >= 255
    (tmp_path / "a.png").write_bytes(_png(values))
    kind, largest = read_largest_value(tmp_path / "a.png")
    assert (kind, Depth().white(kind, largest)) == ("integers", 2.0**bits - 1)
    if channels == 1:
        source = _file(Image.fromarray(values[:, :, 0]), "TIFF", compression="tiff_lzw")
        assert np.asarray(load_image(source))[0, :, 0].tolist() == grey.tolist()


def test_a_dark_photo_stays_dark_in_a_data_set_of_more_bits():
    dark = _png(np.full((4, 4, 1), 500, np.uint16))
    assert np.asarray(load_image(dark)).max() == round(255 * 500 / 1023)
    twelve = PhotoReading(depth=Depth(integers=4095.0))
    assert np.asarray(load_image(dark, twelve)).max() == round(255 * 500 / 4095)


@pytest.mark.parametrize(("top", "white"), [(0.5, 1.0), (1.0, 1.0), (200.0, 255.0), (3000.0, 4095.0)])
def test_floats_are_scaled_by_the_range_that_holds_them(top, white, tmp_path):
    values = np.linspace(-1, top, 99, dtype=np.float32).reshape(9, 11)
    values[0, 1] = np.nan
    source = _file(Image.fromarray(values), "TIFF")
    assert np.asarray(load_image(source)).max() == round(255 * top / white)


# --- Damaged files whose pixels are sound ----------------------------------------------------------------------------


def _read_as_repaired(source, repair):
    picture = read_picture(source)
    assert picture.repair == repair
    return Image.fromarray(picture.pixels.copy())


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker_is_read(mode, progressive):
    jpeg = _file(_noise().convert(mode), "JPEG", quality=90, progressive=progressive)
    assert jpeg.endswith(b"\xff\xd9")
    for cut in (1, 2):
        assert _difference(_read_as_repaired(jpeg[:-cut], MISSING_END), load_image(jpeg)) == 0
    assert read_picture(jpeg).repair == ""


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker_has_all_pixels_whatever_its_last_bits_are(mode):
    repairs = set()
    for seed in range(60):
        jpeg = _file(_noise(seed=seed).convert(mode), "JPEG", quality=90)
        for cut in (1, 2):
            read = read_picture(jpeg[:-cut])
            repairs.add(read.repair)
            assert _difference(read.pixels.copy(), load_image(jpeg)) == 0
    # Where the last bits end with a byte, the decoder needs nothing behind them and does not miss the marker.
    assert MISSING_END in repairs
    assert repairs <= {MISSING_END, ""}


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_pixels_are_cut_short_is_refused(progressive):
    jpeg = _file(_noise(), "JPEG", quality=90, progressive=progressive)
    for cut in (3, 10, len(jpeg) // 2):
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            read_picture(jpeg[:-cut])


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused():
    jpeg = _file(_noise(), "JPEG", quality=90, progressive=True)
    scans = [i for i in range(len(jpeg) - 1) if jpeg[i : i + 2] in (b"\xff\xda", b"\xff\xc4")]
    assert len(scans) > 6
    for start in scans[-3:]:
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            read_picture(jpeg[:start])


PNG = _file(_scene(), "PNG")
BIG_TEXT = b"Comment\0\0" + zlib.compress(bytes(3_000_000))
METADATA = {
    "wrong checksum": _chunk(b"tEXt", b"Comment\0hello", crc=1),
    "too large": _chunk(b"zTXt", BIG_TEXT),
    "broken text": _chunk(b"zTXt", b"Comment\0\0no zlib"),
    "wrong length": struct.pack(">I", 1 << 20) + b"tEXt" + b"Comment\0hello" + bytes(4),
    "negative length": struct.pack(">I", 0xFFFFFFF0) + b"iTXt" + b"Comment\0hello" + bytes(4),
    "broken profile": _chunk(b"iCCP", b"name\0\0no zlib"),
    "short time": _chunk(b"pHYs", b"\0"),
}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_damaged_chunk_of_a_png_does_not_cost_the_photo(name, place):
    at = 33 if place == "before" else len(PNG) - 12
    source = PNG[:at] + METADATA[name] + PNG[at:]
    assert _difference(load_image(source), _scene()) == 0
    assert read_picture(source).repair in ("", DAMAGED_METADATA)


def test_a_png_keeps_its_turn_when_other_metadata_are_damaged():
    turned = _file(_scene(), "PNG", exif=_exif(6))
    source = turned[:33] + METADATA["wrong checksum"] + turned[33:]
    assert read_picture(source).repair == DAMAGED_METADATA
    assert load_image(source).size == (48, 64)


def test_a_png_with_damaged_pixels_is_refused():
    at = PNG.index(b"IDAT") + 20
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        load_image(PNG[:at] + bytes([PNG[at] ^ 255]) + PNG[at + 1 :])


@pytest.mark.parametrize("length", [2, 9, 4000, 65535])
def test_a_jpeg_segment_with_a_wrong_length_does_not_cost_the_photo(length):
    thumbnail = _file(_scene().resize((16, 12)), "JPEG")
    jpeg = _file(_noise(), "JPEG", quality=90)
    segment = b"\xff\xed" + struct.pack(">H", length) + b"Photoshop 3.0\0" + thumbnail
    source = jpeg[:2] + segment + jpeg[2:]
    assert _difference(load_image(source), load_image(jpeg)) == 0


def test_a_webp_with_a_damaged_metadata_chunk_is_read():
    webp = _file(_scene(), "WEBP", lossless=True, exif=_exif(1))
    at = webp.index(b"EXIF")
    source = webp[: at + 4] + struct.pack("<I", 1 << 20) + webp[at + 8 :]
    assert _difference(_read_as_repaired(source, DAMAGED_METADATA), _scene()) == 0


# --- Above the pixel limit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_above_the_limit_is_reduced_while_it_is_decoded(monkeypatch, orientation):
    source = _file(_scene().resize((640, 480)), "JPEG", quality=95, exif=_exif(orientation))
    whole = load_image(source)
    box = (10, 20, 200, 240)
    expected = load_image(reduce_photo(source, 16, box).jpeg)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100_000)
    picture = read_picture(source)
    assert (picture.factor, picture.pixels.shape) == (2, (240, 320, 3))
    assert _difference(load_image(source).resize(whole.size).resize((16, 16)), whole.resize((16, 16))) < 20
    reduced = reduce_photo(source, 16, box)
    assert _difference(load_image(reduced.jpeg), expected) < 40
    assert np.abs(np.asarray(load_image(reduced.jpeg), float) - np.asarray(expected, float)).mean() < 3
    assert reduced.side == 190
    monkeypatch.setattr(images, "PIXEL_LIMIT", 70_000)
    with pytest.raises(ValueError, match="307,200 pixels, more than the limit of 70,000"):
        read_picture(source)
