import numpy as np
import pytest

from pairlens.data.annotations import Photo
from pairlens.data.readers import records


def _keys(annotations):
    return [(photo.key, photo.class_name, photo.split) for photo in annotations.photos]


def test_records_without_a_split_are_halved_by_class(tmp_path):
    rows = [{"path": "x/1.jpg", "label": 7}, {"path": tmp_path / "2.jpg", "label": np.int64(5)}]
    annotations = records.read(rows, tmp_path)
    assert _keys(annotations) == [("2.jpg", "5", "train"), ("x/1.jpg", "7", "test")]
    assert (annotations.root, annotations.given) == (tmp_path, False)


def test_a_split_and_boxes_are_kept(tmp_path):
    rows = (
        {"path": "a.jpg", "label": "cup", "split": split, "box": box}
        for split, box in (("test", (0, 0, 5.4, 5)), ("train", np.array([1, 1, 9, 9])), ("train", [2, 2, 8, 8]))
    )
    annotations = records.read(rows, tmp_path)
    assert [(p.key, p.split, p.box) for p in annotations.photos] == [
        ("a.jpg#2", "train", (1, 1, 9, 9)), ("a.jpg#3", "train", (2, 2, 8, 8)), ("a.jpg#1", "test", (0, 0, 5, 5)),
    ]  # fmt: skip
    assert annotations.given


def test_a_photo_is_a_record(tmp_path):
    rows = [Photo("a.jpg", "a", "train"), Photo("b.jpg", "a", "gallery", (0, 0, 2, 2))]
    assert records.read(rows, tmp_path).photos == tuple(rows)


def test_the_default_folder_is_the_current_one_or_contains_all_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"path": "shop/x/1.jpg", "label": "a"}, {"path": str(tmp_path / "shop" / "2.jpg"), "label": "b"}]
    assert [key for key, _, _ in _keys(records.read(rows))] == ["shop/x/1.jpg", "shop/2.jpg"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    annotations = records.read([{"path": str(tmp_path / row["path"]), "label": row["label"]} for row in rows])
    assert annotations.root == tmp_path / "shop"
    assert [key for key, _, _ in _keys(annotations)] == ["x/1.jpg", "2.jpg"]


GOOD = {"path": "a.jpg", "label": "a"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "lists no photos"),
        ([GOOD, ("b.jpg", "b")], "record 2 is a tuple; use a mapping"),
        ([GOOD, {"path": "b.jpg"}], "record 2 has no 'label'"),
        ([GOOD, {**GOOD, "path": "b.jpg", "clas": 3}], "record 2 has the unknown key 'clas'"),
        ([GOOD, {"path": "b.jpg", "label": float("nan")}], "record 2: the label nan is empty"),
        ([GOOD, {"path": "b.jpg", "label": " "}], "record 2: the label ' ' is empty"),
        ([GOOD, {"path": 3, "label": "b"}], "record 2: the path 3 is not a path"),
        ([GOOD, {"path": "../b.jpg", "label": "b"}], "record 2: .* is not a photo inside"),
        ([GOOD, {"path": ".", "label": "b"}], "record 2: .* is not a photo inside"),
        ([{**GOOD, "split": "val"}], "record 1: the split 'val' is not one of train, test"),
        ([{**GOOD, "split": "train"}, {"path": "b.jpg", "label": "b"}], "record 1 has a split but others have none"),
        ([{**GOOD, "box": (1, 2, 3)}], "record 1: the box .* is not x_1"),
        ([{**GOOD, "box": (1, 2, 3, float("inf"))}], "record 1: the box .* is not x_1"),
        ([{**GOOD, "box": 3}], "record 1: the box 3 is not x_1"),
        ([GOOD, GOOD], r"the photo 'a\.jpg' 2 times"),
    ],
)
def test_a_malformed_record_is_an_error_in_one_sentence(tmp_path, rows, reason):
    with pytest.raises(ValueError, match=reason):
        records.read(rows, tmp_path)
