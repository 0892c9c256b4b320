import dataclasses
from pathlib import Path

import pytest

from pairlens.data.annotations import Annotations, Photo, number_boxes

DIGEST_OF_0_1 = "974cdaabc9e02bc8c51487326c03ecb34c3067e6ff463c028cdea4857c59bdbd"


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


def test_a_file_may_be_listed_with_several_boxes_but_not_with_one_box_twice():
    first = Photo("a.jpg", "a", "train", box=(0, 0, 5, 5))
    second = Photo("a.jpg", "b", "test", box=(4, 0, 9, 9))
    assert [p.key for p in _annotations(*number_boxes([first, second])).photos] == ["a.jpg#1", "a.jpg#2"]
    with pytest.raises(ValueError, match=r"the box \(0, 0, 5, 5\) of the photo 'a\.jpg' 2 times"):
        _annotations(*number_boxes([first, second, first]))


def test_a_file_with_the_name_of_a_numbered_box_is_an_error():
    boxes = [Photo("a", "a", "train", (0, 0, 5, 5), 1), Photo("a", "a", "train", (4, 0, 9, 9), 2)]
    with pytest.raises(ValueError, match="2 photos with the key 'a#2'; rename a file"):
        _annotations(*boxes, Photo("a#2", "a", "train"))


def test_the_digest_of_photos_without_instance_is_that_of_version_0_1():
    # Computed by 0.1; another digest would prepare every data set again.
    photos = (Photo("a.jpg", "a", "train"), Photo("b.jpg", "b", "test", (1, 2, 3, 4)))
    assert _annotations(*photos).digest == DIGEST_OF_0_1


def test_annotations_without_photos_are_an_error():
    with pytest.raises(ValueError, match="lists no photos"):
        _annotations()


@pytest.mark.parametrize(
    "change", [{"path": "b.jpg"}, {"class_name": "b"}, {"split": "test"}, {"box": (0, 0, 1, 1)}, {"instance": 3}]
)
def test_the_digest_changes_with_every_field(change):
    photo = Photo("a.jpg", "a", "train")
    assert _annotations(photo).digest == _annotations(Photo("a.jpg", "a", "train")).digest
    assert _annotations(photo).digest != _annotations(dataclasses.replace(photo, **change)).digest
