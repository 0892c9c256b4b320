import pytest

from pairlens.data.readers import cub200

FILES = {
    "images.txt": "1 002.B/x.jpg\n2 101.C/x.jpg\n3 001.A/y z.jpg\n",
    "classes.txt": "1 001.A\n2 002.B\n101 101.C\n",
    "image_class_labels.txt": "1 2\n2 101\n3 1\n",
    "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 0.0 0.4 10.0 10.4\n3 1 2 3 4\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_real_files_give_the_published_counts(annotations):
    birds = cub200.read(annotations)
    assert cub200.PUBLISHED == {"train": (100, 5864), "test": (100, 5924)}
    assert {split: _count(birds, split) for split in cub200.PUBLISHED} == cub200.PUBLISHED
    assert birds.root == annotations / "CUB_200_2011"
    assert birds.photos == cub200.read(annotations / "CUB_200_2011").photos


def _count(birds, split):
    photos = [photo for photo in birds.photos if photo.split == split]
    return len({photo.class_name for photo in photos}), len(photos)


def test_photos_join_their_class_and_box_by_number(root):
    assert [(p.path, p.class_name, p.split, p.box) for p in cub200.read(root).photos] == [
        ("images/002.B/x.jpg", "002.B", "train", (60, 27, 385, 331)),
        ("images/001.A/y z.jpg", "001.A", "train", (1, 2, 4, 6)),
        ("images/101.C/x.jpg", "101.C", "test", (0, 0, 10, 11)),
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("image_class_labels.txt", "1 2\n2 300\n", "line 2: class 300 is not in classes.txt"),
        ("image_class_labels.txt", "1 2\n", "line 2: image 2 has no line in image_class_labels.txt"),
        ("bounding_boxes.txt", "1 60.0 27.0 325.0\n", "line 1: 4 fields where 5 are expected"),
        ("images.txt", "first 001.A/x.jpg", "line 1: 'first' should be a whole number"),
    ],
)
def test_a_malformed_line_is_named(root, name, text, reason):
    (root / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=reason):
        cub200.read(root)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        cub200.read(root)
