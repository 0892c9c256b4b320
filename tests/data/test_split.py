from collections import defaultdict
from pathlib import Path

import pytest

from pairlens.data.annotations import Annotations, Photo
from pairlens.data.split import divide


def _annotations(*photos, given=True):
    return Annotations("folder", Path("root"), photos, given)


def _classes(annotations):
    """Return the number of train and test photos of each class."""
    counts = defaultdict(lambda: [0, 0])
    for photo in annotations.photos:
        counts[photo.class_name][photo.split != "train"] += 1
    return dict(counts)


def _photos(**sizes):
    return [Photo(f"{name}/{i}.jpg", name, "train") for name, size in sizes.items() for i in range(size)]


def test_classes_keeps_the_split_and_refuses_a_class_on_both_sides():
    given = _annotations(Photo("1.jpg", "a", "train"), Photo("2.jpg", "b", "gallery"))
    assert divide(given, "classes") is given
    both = _annotations(Photo("1.jpg", "a", "train"), Photo("2.jpg", "a", "gallery"))
    with pytest.raises(ValueError, match=r"1 classes both in train and in another split, such as 'a'.* --split given"):
        divide(both, "classes")
    assert divide(both, "given") is both


def test_given_needs_a_given_split():
    with pytest.raises(ValueError, match="does not say which photos are for training"):
        divide(_annotations(*_photos(a=4, b=4), given=False), "given")


def test_one_class_cannot_be_halved():
    with pytest.raises(ValueError, match="lists one class only, 'a'"):
        divide(_annotations(*_photos(a=4), given=False), "classes")


@pytest.mark.parametrize("seed", range(4))
def test_photos_puts_half_of_each_class_on_each_side(seed):
    divided = divide(_annotations(*_photos(b=9, a=4, one=1, two=2)), "photos", seed)
    assert _classes(divided) == {"a": [2, 2], "b": [5, 4], "one": [1, 0], "two": [1, 1]}
    assert [photo.class_name for photo in divided.photos if photo.split == "train"] == [*"aabbbbb", "one", "two"]


def test_the_seed_chooses_the_photos_and_new_photos_leave_other_classes_as_they_are():
    def test_photos(seed, **sizes):
        return {p.path for p in divide(_annotations(*_photos(**sizes)), "photos", seed).photos if p.split == "test"}

    before = test_photos(0, a=20, b=20)
    assert before == test_photos(0, b=20, a=20)
    assert before != test_photos(1, a=20, b=20)
    assert {path for path in test_photos(0, a=20, b=26) if path.startswith("a")} == {p for p in before if p[0] == "a"}


def test_query_and_gallery_are_divided_again():
    photos = [Photo(f"{i}.jpg", "a", split) for i, split in enumerate(["train", "query", "gallery", "test"])]
    assert _classes(divide(_annotations(*photos), "photos")) == {"a": [2, 2]}
    assert {photo.split for photo in divide(_annotations(*photos), "photos").photos} == {"train", "test"}


def test_boxes_of_a_file_are_on_one_side_even_of_several_classes():
    photos = [
        Photo(f"{file}.jpg", name, "train", (0, 0, width, 9), width)
        for file in range(12)
        for width, name in ((3, "cup"), (4, "cup"), (5, "spoon"))
    ]
    divided = divide(_annotations(*photos), "photos")
    sides = defaultdict(set)
    for photo in divided.photos:
        sides[photo.path].add(photo.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert _classes(divided) == {"cup": [12, 12], "spoon": [6, 6]}


def test_classes_of_fewer_than_four_photos_cannot_be_divided():
    with pytest.raises(ValueError, match="no class with two test photos"):
        divide(_annotations(*_photos(a=3, b=2)), "photos")
