"""Photos that are no files, which a collection keeps."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.collection import given_photos
from pairlens.collection.given_photos import add_given_photos
from support.tiny_collections import encoded, new_collection, paths, pixels, write_photo


@pytest.fixture
def shop(tmp_path):
    with new_collection(tmp_path / "shop") as collection:
        yield collection


def forms(tmp_path):
    """The same photo in every form that has pixels, and in every form that has the bytes of a file."""
    array = pixels(1)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    contents = encoded(2)
    return (array, Image.fromarray(array), tensor), (contents, bytearray(contents), memoryview(contents))


def test_every_form_of_a_photo_is_the_same_item(shop, tmp_path):
    for same in forms(tmp_path):
        assert [shop.add([photo]).added for photo in same] == [1, 0, 0]
    assert len(shop) == 2
    # One photo may be given without a list, and several as one array.
    assert shop.add(pixels(3)).added == 1
    assert shop.add(np.stack([pixels(4), pixels(5)])).added == 2
    assert shop.check() == []


def test_what_is_kept_is_the_photo(shop):
    shop.add([encoded(1), pixels(2, 300, 400)])
    assert shop.store.original(1) == encoded(1)
    kept = np.asarray(Image.open(io.BytesIO(shop.store.original(2))))
    assert np.array_equal(kept, pixels(2, 300, 400))
    assert all(item.has_original for item in shop.photos())


def test_a_file_among_pixels_is_kept_too(shop, tmp_path):
    file = write_photo(tmp_path / "a.png", 1)
    done = shop.add([file, pixels(2)])
    assert done.added == 2
    assert shop.store.original(1) == file.read_bytes()


def test_a_generator_of_paths_is_indexed(shop, tmp_path):
    for number in range(3):
        write_photo(tmp_path / "photos" / f"{number}.png", number)
    assert shop.add((tmp_path / "photos").glob("*.png")).added == 3
    assert not shop.get(1).has_original


def test_labels_and_metadata_are_one_for_each(shop):
    done = shop.add([pixels(1), pixels(2), pixels(3)], labels=["cat", None, np.int64(3)], metadata=[{"n": 1}, None, {}])
    assert done.added == 3
    assert [(item.label, item.metadata) for item in shop.photos()] == [("cat", {"n": 1}), (None, {}), ("3", {})]
    shop.add([pixels(4), pixels(5)], labels=torch.tensor([1, 2]))
    shop.add(pixels(6), labels=[float("nan")], metadata={"n": 6})
    assert [item.label for item in shop.photos()][3:] == ["1", "2", None]
    assert shop.get(6).metadata == {"n": 6}
    assert shop.add(pixels(7), labels="auto").added == 1


def test_a_photo_again_takes_the_given_label_and_metadata(shop):
    shop.add([pixels(1)], labels=["cat"], metadata=[{"a": 1}])
    done = shop.add([pixels(1), pixels(1), pixels(2)], labels=["dog", None, None], metadata=[{"b": 2}, None, None])
    assert (done.added, done.updated, done.unchanged) == (1, 1, 1)
    assert (shop.get(1).label, shop.get(1).metadata) == ("dog", {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"labels": ["a"]}, "1 labels were given for 2 photos"),
        ({"labels": "cat"}, "'cat' are one text"),
        ({"labels": ["a", "\x07"]}, "control characters"),
        ({"metadata": {"n": 1}}, "1 metadata were given for 2 photos"),
        ({"metadata": [{}, {"n": [1]}]}, "'n'"),
        ({"metadata": [{}, 3]}, "a mapping"),
        ({"sync": True}, "sync is for folders"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_added(shop, named, words):
    with pytest.raises(ValueError, match=words):
        shop.add([pixels(1), pixels(2)], **named)
    assert len(shop) == 0


def test_a_photo_that_cannot_be_read_is_no_error(shop):
    done = shop.add([b"no photo", pixels(1), np.zeros((3, 3)), 4.5])
    assert (done.added, [entry.path for entry in done.refused]) == (1, ["photo 1", "photo 3", "photo 4"])
    assert done.read + len(done.refused) == 4


def test_names_of_uploads_lead_nowhere(shop):
    names = [r"C:\me\..\a.png", "../../b.png", "\x1b.png", None]
    done = add_given_photos(shop.store, shop.model, [pixels(n) for n in range(4)], names=names)
    assert done.added == 4
    assert [path.partition("/")[2] for path in paths(shop)] == ["a.png", "b.png", ".png", ""]
    assert {item.root for item in shop.photos()} == {""}


def test_parts_are_the_same_as_one_batch(shop, monkeypatch):
    monkeypatch.setattr(given_photos, "_PART", 2)
    done = shop.add([pixels(n % 4) for n in range(6)], labels=[f"{n}" for n in range(6)])
    # The labels of the repeated photos are the later ones.
    assert (done.added, done.updated, done.ids) == (4, 2, (1, 2, 3, 4))
    assert [item.label for item in shop.photos()] == ["4", "5", "2", "3"]
