import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.data.readers import table


def _read(folder, text, name="photos.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return table.read(folder / name)


def _photos(annotations):
    return [(photo.path, photo.class_name, photo.split) for photo in annotations.photos]


def test_plain_rows(tmp_path):
    annotations = _read(
        tmp_path, "split,extra,path,label\ntest,1,c.jpg,c\ntrain,2,b/./1.jpg,007\ntrain,3,b/x/../2.jpg,7\n"
    )
    assert _photos(annotations) == [("b/1.jpg", "007", "train"), ("b/2.jpg", "7", "train"), ("c.jpg", "c", "test")]
    assert annotations.root == tmp_path


def test_validation_means_test(tmp_path):
    text = "label,path,split\na,1.jpg,train\nb,2.jpg,validation\n"
    assert [split for _, _, split in _photos(_read(tmp_path, text))] == ["train", "test"]
    with pytest.raises(ValueError, match="both test and validation"):
        _read(tmp_path, text + "c,3.jpg,test\n")


def test_flags_make_query_and_gallery(tmp_path):
    heading = "label,path,split,is_query,is_gallery\n"
    rows = "a,1.jpg,train,,\nb,2.jpg,test,True,False\nb,3.jpg,test,0,1\nb,4.jpg,test,true,no\n"
    rows += "c,5.jpg,query,,\nc,6.jpg,gallery,,\n"
    assert [split for _, _, split in _photos(_read(tmp_path, heading + rows))] == [
        "train",
        "query",
        "query",
        "query",
        "gallery",
        "gallery",
    ]
    both = "a,1.jpg,train,,\nb,2.jpg,test,True,True\nb,3.jpg,test,True,True\n"
    assert [split for _, _, split in _photos(_read(tmp_path, heading + both))] == ["train", "test", "test"]
    with pytest.raises(ValueError, match="both query and gallery, and others that are only one of them"):
        _read(tmp_path, heading + both + "b,4.jpg,test,True,False\n")


def test_a_column_that_occurs_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match="the column 'path' twice"):
        _read(tmp_path, "label,path,split,path\na,1.jpg,train,2.jpg\n")


def test_boxes_are_optional(tmp_path):
    text = "label,path,split,x_1,x_2,y_1,y_2\n"
    text += "a,1.jpg,train,10,30,20,40.0\na,2.jpg,train,,,,\nb,3.jpg,test,nan,nan,nan,nan\n"
    assert [photo.box for photo in _read(tmp_path, text).photos] == [(10, 20, 30, 40), None, None]


def test_a_path_may_have_several_boxes(tmp_path):
    text = "label,path,split,x_1,y_1,x_2,y_2\n"
    rows = "b,1.jpg,train,10,20,30,40\na,1.jpg,train,0,0,9,9\nc,2.jpg,test,1,2,3,4\n"
    photos = _read(tmp_path, text + rows).photos
    assert [(p.key, p.class_name, p.box) for p in photos] == [
        ("1.jpg#2", "a", (0, 0, 9, 9)), ("1.jpg#1", "b", (10, 20, 30, 40)), ("2.jpg", "c", (1, 2, 3, 4)),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"lists the box \(0, 0, 9, 9\) of the photo '1\.jpg' 2 times"):
        _read(tmp_path, text + rows + "d,1.jpg,train,0,0,9,9\n")


def test_without_the_column_split_half_of_the_classes_are_for_training(tmp_path):
    annotations = _read(tmp_path, "label,path\nb,1.jpg\nc,2.jpg\na,3.jpg\n")
    assert _photos(annotations) == [("3.jpg", "a", "train"), ("1.jpg", "b", "train"), ("2.jpg", "c", "test")]
    assert not annotations.given


def test_parquet_holds_the_same(tmp_path):
    columns = {
        "label": [7, 8, 8], "path": ["a.jpg", "b.jpg", "c.jpg"], "split": ["train", "test", "test"],
        "is_query": [None, True, False], "is_gallery": [None, False, True],
        "x_1": [1.0, None, None], "y_1": [2.0, None, None], "x_2": [3.0, None, None], "y_2": [4.0, None, None],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), tmp_path / "photos.parquet")
    annotations = table.read(tmp_path / "photos.parquet")
    assert _photos(annotations) == [("a.jpg", "7", "train"), ("b.jpg", "8", "query"), ("c.jpg", "8", "gallery")]
    assert [photo.box for photo in annotations.photos] == [(1, 2, 3, 4), None, None]


def test_an_absolute_path_inside_the_folder_is_made_relative(tmp_path):
    assert _photos(_read(tmp_path, f"label,path,split\na,{tmp_path}/x/1.jpg,train\n"))[0][0] == "x/1.jpg"


@pytest.mark.parametrize("path", ["../1.jpg", "/etc/passwd", "x/../../1.jpg", ".", ""])
def test_a_path_out_of_the_folder_is_an_error(tmp_path, path):
    with pytest.raises(ValueError, match=r"photos\.csv, row 2: the path .* does not lead to a photo inside"):
        _read(tmp_path, f"label,path,split\na,1.jpg,train\na,{path},train\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,split\n1.jpg,train\n", "has no column 'label'"),
        ("label,path,is_query\na,1.jpg,1\n", "has no column 'split'; it needs the columns label, path, split"),
        ("label,path,split\na,1.jpg,val\n", "row 1: the split 'val' is not train, test, validation"),
        ("label,path,split\n,1.jpg,train\n", "row 1: the label is empty"),
        ("label,path,split\na,1.jpg\n", "cannot be read as a table"),
        ("", "cannot be read as a table"),
        ("label,path,split\n", "lists no photos"),
        ("label,path,split\na,1.jpg,train\nb,1.jpg,test\n", "2 times"),
        (
            "label,path,split,is_query,is_gallery\na,1.jpg,test,0,0\n",
            "row 1: a test photo must be query, gallery or both",
        ),
        ("label,path,split,is_query\na,1.jpg,test,maybe\n", "row 1: is_query is 'maybe', not true or false"),
        ("label,path,split,x_1,y_1,x_2,y_2\na,1.jpg,train,1,2,3,\n", "row 1: the box 1, 2, 3,  is not four numbers"),
        ("label,path,split,x_1,y_1,x_2,y_2\na,1.jpg,train,1,2,3,inf\n", "is not four numbers"),
    ],
)
def test_a_malformed_table_is_an_error_in_one_sentence(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason):
        _read(tmp_path, text)


def test_a_file_of_another_kind_is_not_a_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a file; use a"):
        table.read(tmp_path)
    with pytest.raises(ValueError, match=r"the suffix '\.xlsx' is neither"):
        _read(tmp_path, "label,path,split\n", name="photos.xlsx")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        _read(tmp_path, "label,path,split\n", name="photos.parquet")
