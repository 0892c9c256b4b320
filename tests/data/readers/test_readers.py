from pathlib import Path

import pytest

from pairlens.data.annotations import Annotations, Photo
from pairlens.data.readers import check_counts, cub200, raw_data_sets, read

MISSING = {
    "car": "cars_annos.mat",
    "cub": "classes.txt",
    "sop": "Ebay_train.txt",
    "isc": "list_eval_partition.txt",
    "folder": "is not a folder",
    "csv": "is not a file",
    "coco": "is not a file",
}


@pytest.mark.parametrize("name", MISSING)
def test_every_name_has_its_reader(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=MISSING[name]):
        read(name, tmp_path / "none")


def test_raw_data_sets_are_found_by_their_annotations(tmp_path):
    assert raw_data_sets(tmp_path) == []
    for path in ("isc/Eval/list_eval_partition.txt", "cub/CUB_200_2011/images.txt", "sop/Ebay_test.txt"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert raw_data_sets(tmp_path) == ["cub", "isc"]
    (tmp_path / "cub" / "CUB_200_2011" / "images.txt").rename(tmp_path / "cub" / "images.txt")
    (tmp_path / "sop" / "Ebay_train.txt").touch()
    assert raw_data_sets(tmp_path) == ["cub", "sop", "isc"]


def test_published_counts_give_no_note(annotations):
    for name, folder in (("car", "cars196"), ("cub", "CUB_200_2011"), ("isc", "in_shop")):
        assert check_counts(read(name, annotations / folder)) == []


def test_other_counts_give_a_note(annotations):
    whole = cub200.read(annotations)
    (sentence,) = check_counts(Annotations("cub", whole.root, whole.photos[1:]))
    assert "100 classes and 5,863 photos in train, but the published split has 100 and 5,864" in sentence
    unpublished = Annotations("folder", Path("photos"), (Photo("a.jpg", "a", "train"),))
    assert check_counts(unpublished) == []
