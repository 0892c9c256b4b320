import dataclasses
from pathlib import Path

import pytest

from pairlens.data.annotations import Annotations, Photo


def _annotations(*photos):
    return Annotations("folder", Path("root"), photos)


def test_photos_are_sorted_by_split_and_otherwise_keep_their_order():
    photos = [
        Photo(f"{i}.jpg", name, split)
        for i, (name, split) in enumerate(zip("bcab", ["gallery", "train", "query", "query"], strict=True))
    ]
    assert [photo.path for photo in _annotations(*photos).photos] == ["1.jpg", "2.jpg", "3.jpg", "0.jpg"]


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/a.jpg", "a/../../b.jpg", ""])
def test_a_path_that_leads_out_of_the_folder_is_an_error(path):
    with pytest.raises(ValueError, match="not inside root"):
        _annotations(Photo(path, "a", "train"))


def test_a_path_listed_twice_is_an_error():
    with pytest.raises(ValueError, match=r"'a\.jpg' 2 times"):
        _annotations(Photo("a.jpg", "a", "train"), Photo("a.jpg", "b", "test"))


def test_a_class_in_train_and_another_split_is_an_error():
    with pytest.raises(ValueError, match="1 classes both in train and in another split, such as 'a'"):
        _annotations(Photo("1.jpg", "a", "train"), Photo("2.jpg", "a", "gallery"))


def test_annotations_without_photos_are_an_error():
    with pytest.raises(ValueError, match="lists no photos"):
        _annotations()


@pytest.mark.parametrize("change", [{"path": "b.jpg"}, {"class_name": "b"}, {"split": "test"}, {"box": (0, 0, 1, 1)}])
def test_the_digest_changes_with_every_field(change):
    photo = Photo("a.jpg", "a", "train")
    assert _annotations(photo).digest == _annotations(Photo("a.jpg", "a", "train")).digest
    assert _annotations(photo).digest != _annotations(dataclasses.replace(photo, **change)).digest
