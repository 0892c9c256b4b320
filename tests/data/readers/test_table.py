from unicodedata import normalize

import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.core.boxes import ShareBox
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


ROWS = [("Label", "PATH ", " Split"), ("a", "x/1.jpg", "train"), ("b", "x/2.jpg", "test"), ("NA", "x/3.jpg", "test")]
EXPECTED = [("x/1.jpg", "a", "train"), ("x/3.jpg", "NA", "test"), ("x/2.jpg", "b", "test")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_common_way_to_write_a_table(tmp_path, separator, encoding, newline):
    text = newline.join(separator.join(row) for row in ROWS) + newline
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert _photos(table.read(tmp_path / "t.csv")) == EXPECTED


def test_quotes_after_blanks_blank_lines_and_empty_cells_at_the_end(tmp_path):
    text = 'label, path, split\na, "x,1/1.jpg", train,,\n\n"b ""2""", 2.jpg,test\n'
    assert _photos(_read(tmp_path, text)) == [("x,1/1.jpg", "a", "train"), ("2.jpg", 'b "2"', "test")]


def test_a_quote_that_is_not_closed_does_not_swallow_rows(tmp_path):
    for text in ('label,path\na,"1.jpg\nb,2.jpg\n', 'label,path\n"a"b,1.jpg\n'):
        with pytest.raises(ValueError, match="cannot be read as a table"):
            _read(tmp_path, text)


@pytest.mark.parametrize("path", ["x\\y\\1.jpg", ".\\x\\y\\1.jpg", "x\\z\\..\\y\\1.jpg"])
def test_backslashes_are_read_as_slashes(tmp_path, path):
    assert _photos(_read(tmp_path, f"label,path,split\na,{path},train\n"))[0][0] == "x/y/1.jpg"


@pytest.mark.parametrize("path", ["..\\1.jpg", "C:\\photos\\1.jpg", "\\\\server\\1.jpg", "x\\..\\..\\1.jpg"])
def test_backslashes_do_not_lead_out(tmp_path, path):
    with pytest.raises(ValueError, match=r"not inside|does not lead to a photo inside"):
        _read(tmp_path, f"label,path,split\na,{path},train\n")


def test_the_cause_is_named_for_other_encodings(tmp_path):
    for contents in (
        "label,path,split\né,1.jpg,train\n".encode("latin-1"),
        "label,path\na,1.jpg\n".encode("utf-16-le"),
    ):
        (tmp_path / "t.csv").write_bytes(contents)
        with pytest.raises(ValueError, match="save it as UTF-8"):
            table.read(tmp_path / "t.csv")


@pytest.mark.parametrize("missing", [float("nan"), None])
@pytest.mark.parametrize("column", ["label", "path"])
def test_a_missing_value_of_a_program_is_an_empty_one(tmp_path, missing, column):
    values = {"label": [1.0, 2.0], "path": ["1.jpg", "2.jpg"], "split": ["train", "test"]}
    values[column] = [values[column][0], missing] if missing is None else [1.0, missing]
    parquet.write_table(pa.table(values), tmp_path / "t.parquet")
    reason = "the label is empty" if column == "label" else "the path '' does not lead"
    with pytest.raises(ValueError, match=f"row 2: {reason}"):
        table.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("label", ["NA", "None", "nan", "null"])
def test_a_text_that_looks_like_a_missing_value_is_a_class(tmp_path, label):
    assert _photos(_read(tmp_path, f"label,path,split\n{label},1.jpg,train\n"))[0][1] == label


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_binary_columns_are_text(tmp_path, kind):
    columns = {
        "Label": pa.array(["é", "b"]).cast(kind) if kind != pa.binary() else pa.array(["é".encode(), b"b"]),
        "path": ["1.jpg", "2.jpg"],
        "split": ["train", "test"],
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert [label for _, label, _ in _photos(table.read(tmp_path / "t.parquet"))] == ["é", "b"]
    parquet.write_table(pa.table({**columns, "Label": [b"\xff", b"b"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="the column 'Label' holds bytes that are not UTF-8"):
        table.read(tmp_path / "t.parquet")


BOXES = "label,path,split,x_1,y_1,x_2,y_2\n"


def test_boxes_that_all_lie_within_0_to_1_are_shares(tmp_path):
    text = BOXES + "a,1.jpg,train,0,0,1,1\nb,2.jpg,test,0.25,0.5,0.75,1.0\nb,3.jpg,test,,,,\n"
    boxes = [photo.box for photo in _read(tmp_path, text).photos]
    assert boxes == [ShareBox(0, 0, 1, 1), ShareBox(0.25, 0.5, 0.75, 1), None]


def test_shares_among_pixels_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"row 2: the box 0\.1, 0\.2, 0\.5, 1 lies within 0 to 1, .* row 1 is in pixels"
    ):
        _read(tmp_path, BOXES + "a,1.jpg,train,1,2,30,40\nb,2.jpg,test,0.1,0.2,0.5,1.0\n")


def test_labels_are_compared_in_one_spelling(tmp_path):
    rows = "".join(
        f"{normalize(form, 'café')},{form}.jpg,{split}\n" for form, split in (("NFC", "train"), ("NFD", "test"))
    )
    assert {photo.class_name for photo in _read(tmp_path, "label,path,split\n" + rows).photos} == {"café"}
