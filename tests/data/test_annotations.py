import dataclasses
from pathlib import Path

import pytest

from pairlens.data.annotations import Annotations, Photo


def _listing(*photos):
    return Annotations("folder", Path("root"), photos)


def test_photos_are_sorted_by_split_and_otherwise_keep_their_order():
    given = [
        Photo(f"{i}.jpg", name, split)
        for i, (name, split) in enumerate(zip("bcab", ["gallery", "train", "query", "query"], strict=True))
    ]
    assert [photo.path for photo in _listing(*given).photos] == ["1.jpg", "2.jpg", "3.jpg", "0.jpg"]


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/a.jpg", "a/../../b.jpg", ""])
def test_a_path_that_leaves_the_root_is_refused(path):
    with pytest.raises(ValueError, match="not inside root"):
        _listing(Photo(path, "a", "train"))


def test_a_path_listed_twice_is_refused():
    with pytest.raises(ValueError, match=r"'a\.jpg' 2 times"):
        _listing(Photo("a.jpg", "a", "train"), Photo("a.jpg", "b", "test"))


def test_a_class_trained_and_tested_on_is_refused():
    with pytest.raises(ValueError, match="1 classes both in train and outside it, such as 'a'"):
        _listing(Photo("1.jpg", "a", "train"), Photo("2.jpg", "a", "gallery"))


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="lists no photos"):
        _listing()


@pytest.mark.parametrize("change", [{"path": "b.jpg"}, {"class_name": "b"}, {"split": "test"}, {"box": (0, 0, 1, 1)}])
def test_the_digest_changes_with_every_field(change):
    photo = Photo("a.jpg", "a", "train")
    assert _listing(photo).digest == _listing(Photo("a.jpg", "a", "train")).digest
    assert _listing(photo).digest != _listing(dataclasses.replace(photo, **change)).digest
