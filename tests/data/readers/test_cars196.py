import numpy as np
import pytest
from scipy.io import savemat

from pairlens.data.readers import cars196

KIND = [(name, object) for name in ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")]


def _save(root, *rows):
    names = np.array([f"Maker Model {i}" for i in range(1, 197)], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": np.array([list(rows)], dtype=KIND), "class_names": names})


def test_the_real_file_gives_the_published_counts(annotations):
    cars = cars196.read(annotations / "cars196")
    assert cars196.PUBLISHED == {"train": (98, 8054), "test": (98, 8131)}
    assert {split: _count(cars, split) for split in cars196.PUBLISHED} == cars196.PUBLISHED
    first = cars.photos[0]
    assert (first.path, first.class_name) == ("car_ims/000001.jpg", "AM General Hummer SUV 2000")
    assert first.box == (111, 6, 853, 717)
    assert {photo.class_name for photo in cars.photos[-40:]} == {"smart fortwo Convertible 2012"}


def _count(cars, split):
    photos = [photo for photo in cars.photos if photo.split == split]
    return len({photo.class_name for photo in photos}), len(photos)


def test_classes_split_by_number_not_by_name(tmp_path):
    rows = [(f"car_ims/{i}.jpg", 1, 1, 9, 9, number, 0) for i, number in enumerate((99, 10, 9, 98, 196))]
    _save(tmp_path, *rows)
    photos = cars196.read(tmp_path).photos
    assert [(p.class_name.split()[-1], p.split) for p in photos] == [
        ("9", "train"), ("10", "train"), ("98", "train"), ("99", "test"), ("196", "test"),
    ]  # fmt: skip


def test_the_last_pixel_of_a_box_in_the_file_is_inside_the_box(tmp_path):
    _save(tmp_path, ("car_ims/1.jpg", 1, 2, 40, 30, 1, 0), ("car_ims/2.jpg", 1, 2, 40, 30, 1, 0))
    assert cars196.read(tmp_path).photos[0].box == (0, 1, 40, 30)


def test_a_missing_file_or_a_file_of_another_kind_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cars_annos\.mat is missing; put"):
        cars196.read(tmp_path)
    (tmp_path / "cars_annos.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(ValueError, match="is not Cars196's annotation file"):
        cars196.read(tmp_path)
    savemat(tmp_path / "cars_annos.mat", {"annotations": np.arange(3), "class_names": np.arange(3)})
    with pytest.raises(ValueError, match="is not Cars196's annotation file"):
        cars196.read(tmp_path)


def test_an_unknown_class_is_an_error(tmp_path):
    _save(tmp_path, ("car_ims/1.jpg", 1, 1, 9, 9, 197, 0))
    with pytest.raises(ValueError, match="class 197 of 196"):
        cars196.read(tmp_path)
