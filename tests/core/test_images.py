import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from pairlens.core import image_formats, images
from pairlens.core.images import decode, empty_photos, encode, load_image, reduce_to_square


def _noise():
    # Not by Pillow's `effect_noise`, whose pictures depend on what other tests have drawn in the same process.
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8))


def _file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _colour(source):
    image = load_image(source)
    assert image.mode == "RGB"
    return np.asarray(image, dtype=int).mean((0, 1))


def _palette(transparent):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 40, 90])
    return _file(image, "PNG", **({"transparency": 1} if transparent else {}))


RED = Image.new("RGB", (8, 8), (200, 40, 90))
HALF = Image.new("RGBA", (8, 8), (200, 40, 90, 51))

KINDS = {
    "jpeg": (_file(RED, "JPEG", quality=95), (200, 40, 90)),
    "progressive jpeg": (_file(RED, "JPEG", quality=95, progressive=True), (200, 40, 90)),
    "grey jpeg": (_file(RED.convert("L"), "JPEG", quality=95), (94, 94, 94)),
    "cmyk jpeg": (_file(RED.convert("CMYK"), "JPEG", quality=95), (200, 40, 90)),
    "cmyk tiff": (_file(RED.convert("CMYK"), "TIFF"), (200, 40, 90)),
    "png": (_file(RED, "PNG"), (200, 40, 90)),
    "bmp": (_file(RED, "BMP"), (200, 40, 90)),
    "gif": (_file(RED, "GIF"), (200, 40, 90)),
    "tiff": (_file(RED, "TIFF", compression="tiff_lzw"), (200, 40, 90)),
    "webp": (_file(RED, "WEBP", lossless=True), (200, 40, 90)),
    "alpha png": (_file(HALF, "PNG"), (244, 212, 222)),
    "alpha webp": (_file(HALF, "WEBP", lossless=True), (244, 212, 222)),
    "grey alpha": (_file(Image.new("LA", (8, 8), (100, 0)), "PNG"), (255, 255, 255)),
    "grey transparent": (_file(Image.new("L", (8, 8), 100), "PNG", transparency=100), (255, 255, 255)),
    "palette": (_palette(transparent=False), (200, 40, 90)),
    "palette transparent": (_palette(transparent=True), (255, 255, 255)),
    "one bit": (_file(Image.new("1", (8, 8), 1), "PNG"), (255, 255, 255)),
    "16 bit png": (_file(Image.fromarray(np.full((8, 8), 25700, np.uint16)), "PNG"), (100, 100, 100)),
    "16 bit tiff": (_file(Image.fromarray(np.full((8, 8), 65535, np.uint16)), "TIFF"), (255, 255, 255)),
    "32 bit tiff": (_file(Image.fromarray(np.full((8, 8), 25700, np.int32)), "TIFF"), (100, 100, 100)),
    "float tiff": (_file(Image.fromarray(np.full((8, 8), 0.2, np.float32)), "TIFF"), (51, 51, 51)),
    "first frame": (_file(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8))]), (200, 40, 90)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_becomes_rgb(kind):
    source, colour = KINDS[kind]
    assert np.abs(_colour(source) - colour).max() <= 2


@pytest.mark.parametrize("name", image_formats.FORMATS)
def test_every_documented_format_is_read(name):
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {name}")
    assert np.abs(_colour(_file(RED, name)) - (200, 40, 90)).max() <= 8
    documented = images.__doc__.replace(" ", "").lower()
    # DIB is BMP without its file header.
    assert name.lower() in documented or name == "DIB"


def test_16_bit_grey_keeps_its_gradations():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, -1)
    grey = np.asarray(load_image(_file(Image.fromarray(ramp), "PNG")))[0, :, 0]
    assert grey.tolist() == list(range(256))


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = load_image(_file(image, "JPEG", exif=exif))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2))[0] > 250 > 5 > upright.getpixel((5, 17))[0]


def test_broken_exif_does_not_lose_the_picture():
    source = _file(RED, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert load_image(source).size == (8, 8)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"no picture",
        _file(RED, "PNG")[:48],
        _file(_noise(), "JPEG")[:2000],
        b"GIF89a",
        b"\xff\xd8\xff",
    ],
)
def test_an_unreadable_picture_is_an_error_in_one_sentence(tmp_path, source):
    with pytest.raises(ValueError, match=r"the picture cannot be read as a picture .*; replace or remove it"):
        load_image(source)
    (tmp_path / "bad.jpg").write_bytes(source)
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be read"):
        load_image(tmp_path / "bad.jpg")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg does not exist"):
        load_image(tmp_path / "none.jpg")


def test_a_decompression_bomb_is_an_error_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(images, "PIXEL_LIMIT", 63)
    with pytest.raises(ValueError, match="64 pixels, more than the limit of 63"):
        load_image(_file(RED, "PNG"))
    monkeypatch.undo()
    small = _file(RED, "BMP")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("the picture was decoded"))
    for side in (11_000, 60_000):
        header = small[:18] + side.to_bytes(4, "little") * 2 + small[26:]
        with pytest.raises(ValueError, match=r"more than .*100,000,000"):
            load_image(header)


def test_only_the_pixels_are_stored():
    heavy = load_image(_file(RED, "JPEG", comment=b"c" * 5000, icc_profile=b"i" * 5000, exif=b"Exif\0\0" + b"e" * 5000))
    assert len(encode(heavy, 8)) == len(encode(Image.new("RGB", (8, 8), (200, 40, 90)), 8))


def _chequered():
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[10:20, 16:32] = 255
    return Image.fromarray(pixels)


def _stored(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)), dtype=int)


def test_a_box_is_cropped_to_the_pixel():
    image = _chequered()
    assert _stored(encode(image, 16, (16, 10, 32, 20))).min() > 250
    for box in ((15, 10, 32, 20), (16, 9, 32, 20), (16, 10, 33, 20), (16, 10, 32, 21)):
        assert _stored(encode(image, 160, box)).min() < 130


def test_a_box_over_the_edge_is_cut_to_the_picture():
    image = _chequered()
    assert encode(image, 16, (-5, -9, 400, 300)) == encode(image, 16) == encode(image, 16, (0, 0, 40, 30))


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (40, 0, 50, 30), (0, -9, 9, 0)])
def test_an_empty_box_is_named(box):
    with pytest.raises(ValueError, match=r"the box \(.*\) has no pixel inside the picture of 40 × 30"):
        encode(_chequered(), 16, box)


def test_a_photo_is_resized_with_antialiasing():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 128))).convert("RGB")
    stored = _stored(encode(stripes, 32))
    assert stored.shape == (32, 32, 3)
    assert np.abs(stored - 127.5).max() < 12


def test_decoding_returns_the_stored_pixels():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    jpegs = [encode(noise, 16), memoryview(encode(_chequered(), 16)), bytearray(encode(RED, 16))]
    batch = decode(jpegs, 16)
    assert (batch.shape, batch.dtype) == ((3, 3, 16, 16), torch.uint8)
    for pixels, jpeg in zip(batch, jpegs, strict=True):
        assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - _stored(bytes(jpeg))).max() <= 3


def test_decoding_resizes_and_turns_grey_into_rgb():
    batch = decode([_file(Image.new("L", (16, 16), 100), "JPEG"), encode(RED, 8), encode(RED, 16)], 8)
    assert batch.shape == (3, 3, 8, 8)
    assert (batch[0].float() - 100).abs().max() <= 2
    assert (batch[1].float() - batch[2].float()).abs().max() <= 2
    assert decode([], 8).shape == (0, 3, 8, 8)


def test_a_damaged_jpeg_names_its_position():
    with pytest.raises(ValueError, match="JPEG 1 of the batch is damaged"):
        decode([encode(RED, 8), b"nothing"], 8)


def _oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(_chequered(), "JPEG", exif=exif)


@pytest.mark.parametrize("box", [None, (3, 2, 8, 7), (-5, 0, 6, 900)])
def test_reducing_a_file_equals_loading_and_encoding_it(tmp_path, box):
    sources = [source for source, _ in KINDS.values()] + [_oriented(n) for n in range(10)]
    sources += [_file(RED.convert("L"), "JPEG"), _file(RED, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")]
    for source in sources:
        expected = encode(load_image(source), 12, box, quality=80)
        (tmp_path / "file").write_bytes(source)
        assert reduce_to_square(source, 12, box, quality=80) == expected
        assert reduce_to_square(tmp_path / "file", 12, box, quality=80) == expected


@pytest.mark.parametrize("jpeg", [_file(_chequered(), "JPEG"), _oriented(1)])
def test_an_upright_jpeg_is_not_decoded_by_pillow(jpeg, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("Pillow decoded the picture"))
    reduce_to_square(jpeg, 12)


def _with_segments(count, name=b"\xff\xfe"):
    jpeg = _oriented(6)
    return jpeg[:2] + count * (name + b"\x00\x06\xff\xda\xff\xd9") + jpeg[2:]


@pytest.mark.parametrize("count", [1, 299, 5000])
def test_an_orientation_is_found_after_a_segment_that_looks_like_the_start_of_the_pixels(count):
    jpeg = _with_segments(count)
    assert load_image(jpeg).size == (30, 40)
    assert reduce_to_square(jpeg, 12) == encode(load_image(jpeg), 12)


def test_a_jpeg_without_orientation_is_not_opened_by_pillow(monkeypatch):
    jpeg = _file(_chequered(), "JPEG")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow opened the picture"))
    reduce_to_square(jpeg, 12)


def test_reducing_raises_the_same_errors_as_loading(tmp_path, monkeypatch):
    cut = _file(_noise(), "JPEG")[:2000]
    for source in (b"", cut):
        with pytest.raises(ValueError, match=r"the picture cannot be read as a picture .*; replace or remove it"):
            reduce_to_square(source, 8)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg does not exist"):
        reduce_to_square(tmp_path / "none.jpg", 8)
    with pytest.raises(ValueError, match="has no pixel inside the picture of 8 × 8"):
        reduce_to_square(_file(RED, "JPEG"), 8, (9, 0, 12, 5))
    monkeypatch.setattr(images, "PIXEL_LIMIT", 63)
    with pytest.raises(ValueError, match="64 pixels, more than the limit of 63"):
        reduce_to_square(_file(RED, "PNG"), 8)


def test_warnings_are_off_while_any_thread_reads_and_restored_afterwards():
    before = warnings.filters[:]
    with images.QUIET:
        with images.QUIET:
            warnings.warn("unheard", UserWarning, stacklevel=1)
        warnings.warn("unheard", UserWarning, stacklevel=1)
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_a_batch_has_its_channels_last_in_memory():
    for batch in (empty_photos(2, 8), decode([encode(RED, 8)] * 2, 8)):
        assert (batch.shape, batch.dtype) == ((2, 3, 8, 8), torch.uint8)
        assert batch.is_contiguous(memory_format=torch.channels_last)
