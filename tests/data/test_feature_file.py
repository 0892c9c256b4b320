import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from pairlens.data import feature_file
from pairlens.data.catalog import Catalog
from support.feature_tables import DIM, rows, write_features


@pytest.fixture
def file(tmp_path):
    return tmp_path / "birds.parquet"


def test_a_file_is_a_catalog_of_vectors(file):
    columns = rows(split=["test"] * 24 + ["train"] * 24)
    catalog = Catalog.open(write_features(file, columns))
    assert (len(catalog), catalog.channels, catalog.name) == (48, DIM, "birds")
    assert torch.equal(catalog.vectors, torch.tensor(columns["vector"]))
    # The training classes come first, though their rows come last.
    assert catalog.class_names[:4] == ("bird 4", "bird 5", "bird 6", "bird 7")
    train = catalog.select("train")
    assert train.labels.unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(train.vectors, catalog.vectors[24:])
    assert catalog.paths[:2] == ("row 1", "row 2")
    assert not catalog.shows_photos
    assert bytes(catalog.jpeg(0)) == b""
    again = pickle.loads(pickle.dumps(train))
    assert torch.equal(again.vectors, train.vectors)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), DIM), pa.list_(pa.int32())]
)
def test_any_list_of_numbers_is_read(file, kind):
    values = np.random.default_rng(0).integers(1, 9, (48, DIM))
    cells = [list(row.astype(np.float16)) for row in values] if kind.value_type == pa.float16() else values.tolist()
    found = Catalog.open(write_features(file, rows(vector=pa.array(cells, kind), label=list(range(24)) * 2)))
    assert torch.equal(found.vectors, torch.from_numpy(values).float())
    assert found.class_names[:2] == ("0", "1")


def test_the_digest_is_that_of_the_rows(file):
    def digest(**changes):
        return Catalog.open(write_features(file, rows(**changes))).digest

    first = digest()
    assert first == digest()
    vectors = rows()["vector"]
    assert first != digest(vector=[[0.5] * DIM, *vectors[1:]])
    assert first != digest(label=["other", *rows()["label"][1:]])


def test_queries_gallery_and_other_columns(file):
    roles = [None] * 24 + ["query", "gallery"] * 12
    found = Catalog.open(write_features(file, rows(role=roles, size=[1] * 48, Note=["x"] * 48)))
    assert found.unread_columns == ("size", "note")
    assert (len(found.select("query")), len(found.select("gallery"))) == (12, 12)


def test_photos_are_shown_where_they_are(file, tmp_path):
    paths = [f"photos/{row}.png" for row in range(48)]
    found = Catalog.open(write_features(file, rows(path=paths)))
    assert not found.shows_photos
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (30, 20), "red").save(tmp_path / "photos" / "3.png")
    (tmp_path / "photos" / "4.png").write_text("no picture", encoding="utf-8")
    (tmp_path / "photos" / "5.png").symlink_to(tmp_path / "photos" / "3.png")
    found = Catalog.open(file)
    assert found.shows_photos
    assert [bool(len(found.jpeg(row))) for row in range(2, 6)] == [False, True, False, False]


def vectors(row, value):
    found = rows()["vector"]
    return [*found[:row], value, *found[row + 1 :]]


def cells(name, row, value):
    found = rows(path=[f"{n}.jpg" for n in range(48)], role=[None] * 24 + ["query", "gallery"] * 12)[name]
    return {name: [*found[:row], value, *found[row + 1 :]]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (rows(vector=None), "has no column 'vector'"),
        (rows(split=None), "has no column 'split'"),
        (rows(vector=["a"] * 48), "the column vector holds string, not lists of numbers"),
        (rows(vector=[["a"]] * 48), r"holds list<.*string>, not lists of numbers"),
        (rows(vector=vectors(3, [1.0] * DIM + [2.0])), "row 4 has no vector of 12 numbers"),
        (rows(vector=[*vectors(3, [1.0] * 11)[:-1], [1.0] * 13]), "row 4 has no vector of 12 numbers, as others have"),
        (rows(vector=vectors(3, None)), "row 4 has no vector of 12 numbers"),
        (rows(vector=vectors(0, [])), "row 1 has no vector"),
        ({name: column[:0] for name, column in rows().items()}, "null|it has no rows"),
        (rows(vector=vectors(5, [1.0] * 11 + [None])), "the rows 1 to 48 has an empty number"),
        (rows(vector=vectors(5, [1.0] * 11 + [np.nan])), "row 6 has a number that is not finite"),
        (rows(vector=vectors(5, [1e39] * DIM)), "row 6 has a number that is not finite in float32"),
        (rows(vector=vectors(5, [0.0] * DIM)), "row 6 has a vector of zeros"),
        (rows(**cells("label", 7, None)), "row 8 has the label ''"),
        (rows(**cells("label", 7, "a\x1b[31m")), "row 8 has the label"),
        (rows(split=["train"] * 48), "no row has the split test"),
        (rows(**cells("split", 2, "val")), "row 3 has the split 'val', which is neither train nor test"),
        (rows(**cells("role", 2, "query")), "row 3, of the split train, has the role 'query', which must be nothing"),
        (rows(**cells("role", 30, None)), "row 31, of the split test, has the role '', which must be query or gallery"),
        (rows(**cells("path", 2, "../x.jpg")), "row 3 has the path '../x.jpg', which does not name a file below"),
        (rows(**cells("path", 2, "/etc/x")), "row 3 has the path '/etc/x', which does not name a file below"),
        (rows(**cells("path", 2, "9.jpg")), "row 10 has the path '9.jpg', which another row has"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(file, columns, message):
    with pytest.raises(ValueError, match=message) as error:
        Catalog.open(write_features(file, columns))
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_parquet_is_refused(file):
    with pytest.raises(FileNotFoundError, match="is not a file of features"):
        Catalog.open(file)
    file.write_text("vector,label\n", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        Catalog.open(file)


def test_a_small_file_claims_no_large_memory(file, monkeypatch):
    constant = pa.array([[1.0] * 1000] * 2000, pa.list_(pa.float32()))
    parquet.write_table(pa.table({"vector": constant, "label": ["a"] * 2000, "split": ["train"] * 2000}), file)
    assert file.stat().st_size < 20_000
    monkeypatch.setattr(feature_file, "_SMALL", 1 << 10)
    with pytest.raises(ValueError, match="2,000 vectors of 1,000 numbers are more than the"):
        Catalog.open(file)


def test_a_file_that_is_cut_short_is_refused(file):
    contents = write_features(file, rows()).read_bytes()
    for length in range(0, len(contents), 97):
        file.write_bytes(contents[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            Catalog.open(file)
