"""Parquet tables of vectors: out of a collection, and in from elsewhere."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.collection import vector_table
from pairlens.collection.collection import Collection
from support.stores import unit_vectors
from support.tiny_collections import new_collection, photo_folder, tiny_backbone, write_photo


@pytest.fixture
def empty(tmp_path):
    with Collection.create(tmp_path / "empty", "none") as collection:
        yield collection


def write(file, count=3, dim=4, about=None, **columns):
    """A table as another program writes it: lists of float64, few columns."""
    made = {"path": [f"{n}.jpg" for n in range(count)], "vector": list(2 * unit_vectors(count, dim).astype(float))}
    table = pa.table({name: values for name, values in {**made, **columns}.items() if values is not None})
    if about is not None:
        table = table.replace_schema_metadata({b"pairlens": about})
    parquet.write_table(table, file)
    return file


def test_a_round_trip_keeps_everything(empty, tmp_path):
    write_photo(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "photos" / "t.csv").write_text(
        "path,label,x_1,y_1,x_2,y_2,n,s\na.png,é,1,2,20,30,3,x\na.png,,,,,,,\n", encoding="utf-8"
    )
    with new_collection(tmp_path / "shop") as shop:
        shop.add(tmp_path / "photos" / "t.csv")
        shop.add(photo_folder(tmp_path / "more", "ab", 2))
        assert shop.export_vectors(tmp_path / "t.parquet") == 6
        assert empty.import_vectors(tmp_path / "t.parquet") == 6
        fields = ("root", "path", "digest", "region", "label", "metadata")
        for old, new in zip(shop.photos(), empty.photos(), strict=True):
            assert all(getattr(old, name) == getattr(new, name) for name in fields)
        assert np.array_equal(shop.store.vectors(range(1, 7)), empty.store.vectors(range(1, 7)))
        assert empty.active.fingerprint == shop.active.fingerprint
        # The same table again is there already, here as in the collection that it came from.
        assert empty.import_vectors(tmp_path / "t.parquet") == shop.import_vectors(tmp_path / "t.parquet") == 0


def test_any_program_reads_the_table(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        shop.add(photo_folder(tmp_path / "photos", "ab", 1))
        shop.export_vectors(tmp_path / "t.parquet")
        table = parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == ["id", "root", "path", "digest", "region", "label", "metadata", "vector"]
    assert table["label"].to_pylist() == ["a", "b"]
    assert json.loads(table["metadata"][0].as_py()) == {}
    assert table.schema.field("vector").type == pa.list_(pa.float32(), tiny_backbone().dim)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float16(), 4), pa.large_list(pa.float32())])
def test_foreign_tables(empty, tmp_path, kind):
    file = write(tmp_path / "t.parquet", vector=pa.array(unit_vectors(3, 4).astype(np.float16).tolist(), kind))
    assert empty.import_vectors(file) == 3
    assert empty.store.vectors([1, 2, 3]) == pytest.approx(unit_vectors(3, 4), abs=2e-3)
    assert empty.active.fingerprint.startswith("elsewhere-")
    assert empty.search(2, k=5, where={"path": "0.jpg"})[0].path == "0.jpg"


def test_a_second_table_of_another_name_belongs_to_the_same_vectors(empty, tmp_path):
    empty.import_vectors(write(tmp_path / "first.parquet"))
    second = write(tmp_path / "second.parquet", path=["a.jpg", "b.jpg", "0.jpg"])
    assert empty.import_vectors(second) == 2
    assert len(empty.store.models()) == 1


def test_vectors_of_another_model_or_dimension_are_refused_and_declare_nothing(empty, tmp_path):
    empty.import_vectors(write(tmp_path / "first.parquet"), "clip")
    for file, name, words in (
        (write(tmp_path / "b.parquet", dim=5), None, "5 dimensions, and those of .* have 4"),
        (write(tmp_path / "c.parquet"), "dino", "are of the model dino and those of .* of clip"),
        (write(tmp_path / "d.parquet"), "a/b", "no name of 1 to 64 characters"),
        (write(tmp_path / "e.parquet"), "", "no name"),
    ):
        with pytest.raises(ValueError, match=words):
            empty.import_vectors(file, name)
    assert [model.fingerprint for model in empty.store.models()] == ["clip"]


def test_vectors_of_an_unknown_model_do_not_join_those_of_a_network(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        file = write(tmp_path / "t.parquet", dim=tiny_backbone().dim)
        with pytest.raises(ValueError, match=f"--model {tiny_backbone().fingerprint}"):
            shop.import_vectors(file)
        assert shop.import_vectors(file, tiny_backbone().fingerprint) == 3


def rows(values, kind=None):
    return pa.array(values, kind)


GOOD = [[1.0, 0, 0, 0]]
VECTORS = pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": None}, "no column 'path'"),
        ({"vector": None}, "no column 'vector'"),
        ({"vector": ["a", "b", "c"]}, "holds string"),
        ({"vector": rows([[1], [2], [3]])}, "holds list<.*int64>"),
        ({"vector": rows([[[1.0]], [[1.0]], [[1.0]]])}, "not lists of floating-point"),
        ({"vector": rows([None, *2 * GOOD], VECTORS)}, "row 1: there is no vector"),
        ({"vector": rows([*GOOD, None, *GOOD], VECTORS)}, "row 2: the vector has 0 dimensions"),
        ({"vector": rows([*GOOD, [1.0], *GOOD], VECTORS)}, "row 2: the vector has 1 dimensions"),
        ({"vector": rows([*2 * GOOD, [0.0] * 4], VECTORS)}, "row 3: the vector is zero or not finite"),
        ({"vector": rows([[float("nan")] * 4, *2 * GOOD], VECTORS)}, "row 1: the vector is zero or not finite"),
        ({"vector": rows([[None, 1, 1, 1], *2 * GOOD], VECTORS)}, "row 1: the vector is zero or not finite"),
        ({"vector": rows([[], [], []], VECTORS)}, "0 dimensions"),
        ({"path": ["a", "a", "b"]}, "row 2: the path 'a' is in row 1 already"),
        ({"path": ["a", "", "b"]}, "row 2: the path"),
        ({"path": ["a", None, "b"]}, "row 2: the path"),
        ({"path": ["a", "\x1b", "b"]}, "row 2: the path"),
        ({"path": ["a", "b" * 5000, "c"]}, "row 2: the path"),
        ({"path": [1, 2, 3]}, "row 1: the path"),
        ({"root": ["/photos"] * 3, "path": ["a", "../../etc/passwd", "b"]}, "row 2: .* leads out of its root"),
        ({"label": ["a", "\x07", "b"]}, "row 2: the label"),
        ({"digest": ["0" * 64, "xyz", "0" * 64]}, "row 2: the digest"),
        ({"region": [None, [1, 2, 3], None]}, "row 2"),
        ({"region": [None, [0, 0, 0, 3], None]}, "row 2: .*no rectangle"),
        ({"region": [None, [0.5, 0, 1, 3], None]}, "row 2: region 0.5"),
        ({"metadata": ["{}", "[1]", "{}"]}, "row 2: the metadata are no JSON object"),
        ({"metadata": ["{}", '{"a": [1]}', "{}"]}, "row 2: .*'a'"),
        ({"metadata": ["{}", "{" * 10, "{}"]}, "row 2"),
        ({"metadata": ["{}", '{"a":' * 100_000, "{}"]}, "row 2"),
        ({"metadata": [3, 4, 5]}, "row 1: the metadata are no text"),
    ],
)
def test_a_malformed_row_is_named(empty, tmp_path, columns, words):
    with pytest.raises(ValueError, match=words):
        empty.import_vectors(write(tmp_path / "t.parquet", **columns))
    assert len(empty) == 0
    assert empty.store.models() == []


@pytest.mark.parametrize(
    "about", [b"{", b"[]", b'{"version": 2, "fingerprint": "a"}', b'{"version": 1}', b'{"a":' * 9999]
)
def test_metadata_of_the_file_are_not_trusted(empty, tmp_path, about):
    with pytest.raises(ValueError, match="newer Pairlens, or is damaged"):
        empty.import_vectors(write(tmp_path / "t.parquet", about=about))


def test_a_table_says_its_model_itself(empty, tmp_path):
    file = write(tmp_path / "t.parquet", about=b'{"version": 1, "fingerprint": "clip", "dim": 1e9}')
    with pytest.raises(ValueError, match="of the model clip, not of dino"):
        empty.import_vectors(file, "dino")
    empty.import_vectors(file)
    assert (empty.active.fingerprint, empty.active.dim) == ("clip", 4)


def test_files_that_are_no_tables(empty, tmp_path):
    import os

    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ValueError, match="cannot be read as a Parquet table"):
        empty.import_vectors(tmp_path / "t.parquet")
    os.mkfifo(tmp_path / "pipe.parquet")
    for name in ("no.parquet", "pipe.parquet", "."):
        with pytest.raises(FileNotFoundError, match="is not a file"):
            empty.import_vectors(tmp_path / name)


def test_damaged_bytes_are_a_sentence(empty, tmp_path):
    contents = bytearray(write(tmp_path / "t.parquet", count=200).read_bytes())
    rng = np.random.default_rng(0)
    for seed in range(40):
        damaged = bytearray(contents)
        for position in rng.integers(0, len(damaged), 20):
            damaged[position] ^= 1 << (seed % 8)
        (tmp_path / "d.parquet").write_bytes(damaged)
        try:
            empty.import_vectors(tmp_path / "d.parquet")
        except ValueError:
            continue
        empty.remove(empty.store.ids())
    assert empty.check() == []


def test_a_few_bytes_that_stand_for_gigabytes_are_refused(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_table, "_MAX_ROW_BYTES", 50)
    with pytest.raises(ValueError, match=r"states .* bytes for 3 rows"):
        empty.import_vectors(write(tmp_path / "t.parquet"))
    monkeypatch.undo()
    monkeypatch.setattr(vector_table, "_MAX_ROWS", 2)
    with pytest.raises(ValueError, match="states 3 rows"):
        empty.import_vectors(write(tmp_path / "t.parquet"))


def test_small_batches_count_rows_alike(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_table, "_BATCH_BYTES", 100)
    file = write(tmp_path / "t.parquet", path=["a", "b", "a"])
    with pytest.raises(ValueError, match="row 3: the path 'a' is in row 1 already"):
        empty.import_vectors(file)
    # What was before that row is there, and the corrected table goes on.
    assert empty.import_vectors(write(tmp_path / "t2.parquet", path=["a", "b", "c"])) == 3 - len({"a", "b"})


def test_exports_that_cannot_be(empty, tmp_path):
    with pytest.raises(ValueError, match=r"no \.parquet file"):
        empty.export_vectors(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="no vectors to export"):
        empty.export_vectors(tmp_path / "t.parquet")
