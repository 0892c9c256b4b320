import io

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.core.images import decode_one, reduce_to_square
from pairlens.model.embedder import Embedder
from pairlens.model.photo_input import PhotoInput, single_photos

VIEW = PhotoInput(image_size=32, stored_size=48, quality=80)
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
READY = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8))


@pytest.fixture(scope="module")
def model():
    return Embedder(backbone="test_resnet", descriptors="S", dim=8, weights="none", stride="none", image_size=32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A photo that is not square, stored without loss."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(PIXELS).save(path)
    return path


def in_all_forms(file):
    with Image.open(file) as picture:
        picture.load()
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    return [str(file), file, file.read_bytes(), bytearray(file.read_bytes()), picture, PIXELS, tensor]


def test_a_photo_has_the_pixels_of_evaluation_in_whatever_form_it_is_given(file):
    expected = decode_one(reduce_to_square(file, 48, quality=80), 32).copy()
    for pixels in VIEW.read(in_all_forms(file)):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)


def test_pixels_of_the_size_of_the_model_are_taken_as_they_are():
    assert torch.equal(VIEW.read(list(READY)), READY)
    assert torch.equal(VIEW.read(list(READY.permute(0, 2, 3, 1).numpy())), READY)


def test_grey_and_transparent_photos_and_photos_on_their_side_are_read_as_prepare_reads_them(tmp_path):
    grey = PIXELS[:, :, 0]
    assert torch.equal(VIEW.read([grey]), VIEW.read([np.repeat(grey[:, :, None], 3, axis=2)]))
    for name, options in {"layer.png": {}, "turned.jpg": {"exif": turned()}}.items():
        picture = Image.fromarray(PIXELS).convert("RGBA" if name == "layer.png" else "RGB")
        if name == "layer.png":
            picture.putalpha(100)
        picture.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            assert torch.equal(VIEW.read([opened]), VIEW.read([tmp_path / name]))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_a_batch_or_a_list_is_several_photos_and_anything_else_is_one():
    assert [
        len(single_photos(photos)[0]) for photos in (READY, READY.numpy(), ["a", "b"], ("a",), [], "ab", PIXELS)
    ] == [*(5, 5, 2, 1, 0, 1, 1)]
    assert [single_photos(photos)[1] for photos in ("a", b"a", PIXELS, READY[0], ["a"], READY)] == [True] * 4 + [
        False
    ] * 2


def test_embed_returns_one_vector_for_a_photo_and_a_row_for_each_of_a_list(model, file):
    one = model.embed(file)
    assert one.shape == (8,)
    assert one.dtype == torch.float32
    assert torch.allclose(one.norm(), torch.ones(()))
    assert not one.requires_grad
    several = model.embed(in_all_forms(file), batch_size=3)
    assert several.shape == (7, 8)
    assert torch.allclose(several, one.expand(7, 8), atol=1e-5)
    assert model.embed([file]).shape == (1, 8)
    assert model.embed([]).shape == model.embed(READY[:0]).shape == (0, 8)


def test_embed_keeps_the_mode_of_the_model_and_uses_evaluation_mode(model):
    expected = model.eval()(READY)[0]
    model.train()
    found = model.embed(READY, batch_size=2, workers=0)
    assert model.training
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_list_is_read_batch_by_batch(model, monkeypatch):
    sizes = []
    embed_batch = model.embed_batch
    monkeypatch.setattr(model, "embed_batch", lambda photos: sizes.append(len(photos)) or embed_batch(photos))
    assert len(model.embed(list(READY), batch_size=2)) == 5
    assert sizes == [2, 2, 1]


def truncated():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()[:2000]


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (b"no picture", "cannot be read as a picture"),
        (truncated(), "the picture cannot be read as a picture"),
        (Image.open(io.BytesIO(truncated())), "the PIL picture cannot be read"),
        (PIXELS / 255, "uint8 values from 0 to 255, not float64; convert it to uint8"),
        (torch.zeros(3, 40, 40), "a photo as tensor has uint8 values from 0 to 255, not torch.float32"),
        (PIXELS.transpose(2, 0, 1), r"array of shape \(3, 60, 90\) is not a photo; give \(height, width, 3\)"),
        (torch.from_numpy(PIXELS), r"tensor of shape \(60, 90, 3\) is not a photo; give \(3, height, width\)"),
        (np.zeros((0, 4, 3), np.uint8), r"array of shape \(0, 4, 3\) is not a photo"),
        (np.zeros((2, 2, 40, 40, 3), np.uint8), "is not a photo"),
        ([READY], r"tensor of shape \(5, 3, 32, 32\) is not a photo"),
        (3, "a int is not a photo; give a path"),
        (None, "a NoneType is not a photo"),
        (["a.jpg" for _ in range(0)] + [[]], "a list is not a photo"),
    ],
)
def test_what_is_no_photo_is_named_in_one_sentence(model, photo, message):
    with pytest.raises(ValueError, match=message) as raised:
        model.embed(photo)
    assert "\n" not in str(raised.value)


def test_a_missing_file_a_folder_and_an_empty_batch_size_are_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.jpg does not exist; check the path"):
        model.embed([tmp_path / "nowhere.jpg"])
    with pytest.raises(ValueError, match="is a folder; give its picture files"):
        model.embed(str(tmp_path))
    with pytest.raises(ValueError, match="batch_size 0 must be a whole number, 1 or more"):
        model.embed(READY, batch_size=0)
