"""Prepared data sets and pictures of strangers: each is checked before a library believes what it says."""

import io
import json
import struct

import pyarrow as pa
import pytest
from PIL import Image

from conftest import write_bars
from pairlens.data.arrow_checks import SCHEMA
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode, load_image


def test_a_jpeg_that_says_it_is_enormous_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    at = buffer.getvalue().index(b"\xff\xc0") + 5
    for side in (5000, 9900, 65000):
        lying = buffer.getvalue()[:at] + struct.pack(">HH", side, side) + buffer.getvalue()[at + 4 :]
        with pytest.raises(ValueError, match="prepare the data set again"):
            decode([lying], 8)
    with pytest.raises(ValueError, match="more than"):
        load_image(lying)


def rewritten(file, change=None, options=None, schema=SCHEMA):
    """Write a catalog anew with a change in its first rows, and its JSON to suit."""
    table = pa.ipc.open_file(file.read_bytes()).read_all().to_pydict()
    for name, value in (change or {}).items():
        table[name][0] = value
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.table(table, schema=schema))
    belongs(file)


def belongs(file):
    beside = file.with_suffix(".json")
    beside.write_text(
        json.dumps(json.loads(beside.read_text(encoding="utf-8")) | {"bytes": file.stat().st_size}), encoding="utf-8"
    )


@pytest.fixture
def bars(tmp_path):
    return write_bars(tmp_path / "bars" / "uncropped.arrow").file


def test_a_catalog_written_by_others_is_opened(bars):
    rewritten(bars)
    assert len(Catalog.open(bars)) == 48


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "../../etc/passwd"}, "leads out of the folder"),
        ({"path": "/etc/passwd"}, "leads out of the folder"),
        ({"path": "a\x1b[31m"}, "leads out of the folder or is no text"),
        ({"path": None}, "empty cells"),
        ({"class_name": "another"}, "two names"),
        ({"label": 2**62}, "count 8 classes|count 9 classes"),
        ({"label": -1}, "labels run from -1"),
        ({"split": "holdout"}, "a split in it is unknown"),
        ({"jpeg": None}, "empty cells"),
    ],
)
def test_a_row_that_no_catalog_has_is_refused(bars, change, said):
    rewritten(bars, change)
    with pytest.raises(ValueError, match=said):
        Catalog.open(bars)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_catalog_is_refused_because_it_names_its_own_size(bars, codec):
    rewritten(bars, options=pa.ipc.IpcWriteOptions(compression=codec))
    with pytest.raises(ValueError, match="compressed"):
        Catalog.open(bars)


@pytest.mark.parametrize("kind", ["dictionary", "view", "large"])
def test_columns_of_another_kind_are_refused(bars, kind):
    types = {"dictionary": pa.dictionary(pa.int32(), pa.string()), "view": pa.string_view(), "large": pa.large_string()}
    at = SCHEMA.get_field_index("class_name")
    rewritten(bars, schema=SCHEMA.set(at, pa.field("class_name", types[kind])))
    with pytest.raises(ValueError, match=r"its columns are|not Pairlens's"):
        Catalog.open(bars)


def test_an_offset_beyond_its_buffer_is_refused(bars):
    """Arrow itself opens such a file, and reading the row ends the process."""
    data = bytearray(bars.read_bytes())
    first = Catalog.open(bars).jpeg(0).nbytes
    ends = struct.pack("<II", 0, first)
    at = data.index(ends, data.index(b"testtest"))
    for lie in (2**31 - 1, 2**32 - 1):
        data[at + 4 : at + 8] = struct.pack("<I", lie)
        bars.write_bytes(data)
        with pytest.raises(ValueError, match="is not a catalog of Pairlens"):
            Catalog.open(bars)


@pytest.mark.parametrize("change", [{"size": 10**6}, {"size": 0}])
def test_a_description_of_pictures_beyond_reason_is_refused(bars, change):
    beside = bars.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValueError, match="are never prepared"):
        Catalog.open(bars)
