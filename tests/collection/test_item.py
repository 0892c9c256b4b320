"""The records of a collection."""

from unicodedata import normalize

import numpy as np
import pytest

from pairlens.collection.item import Item, Region, checked_metadata


@pytest.mark.parametrize("corners", [(-1, 0, 2, 2), (0, 0, 0, 2), (0, 0, 2, -1), (0, 0, 1 << 31, 2)])
def test_a_region_is_a_rectangle_inside_a_photo(corners):
    with pytest.raises(ValueError, match="no rectangle"):
        Region(*corners)


def test_metadata_are_stored_as_plain_composed_values():
    given = {
        normalize("NFD", "größe"): np.int64(3),
        "name": normalize("NFD", "café"),
        "ok": np.True_,
        "x": None,
        "f": 0.5,
    }
    assert checked_metadata(given) == {"größe": 3, "name": "café", "ok": True, "x": None, "f": 0.5}


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": [1]},
        {"a": {}},
        {"a": 1 << 60},
        {"a": "\x1b[31m"},
        {"a": "x" * 5000},
        {"a": b"x"},
        {"": 1},
        {"a$": 1},
        {"a" * 65: 1},
        {3: 1},
        {str(n): n for n in range(300)},
        [("a", 1)],
    ],
)
def test_metadata_that_cannot_be_stored_are_refused(metadata):
    with pytest.raises(ValueError, match=r"metadata"):
        checked_metadata(metadata)


def test_the_file_of_an_item():
    item = Item(1, "/photos", "a.jpg", "0" * 64, None, None, {}, 1, 1, 0, 0.0)
    assert item.file == "/photos/a.jpg"
