"""Untrusted prepared data sets and pictures are checked before a library uses the sizes that they state."""

import io
import json
import struct

import pyarrow as pa
import pytest
from PIL import Image

from conftest import write_bars
from pairlens.core.images import decode, load_image
from pairlens.data.arrow_checks import SCHEMA
from pairlens.data.catalog import Catalog


def test_a_jpeg_that_states_an_enormous_size_is_an_error():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    position = jpeg.index(b"\xff\xc0") + 5
    for side in (5000, 9900, 65000):
        changed = jpeg[:position] + struct.pack(">HH", side, side) + jpeg[position + 4 :]
        with pytest.raises(ValueError, match="prepare the data set again"):
            decode([changed], 8)
    with pytest.raises(ValueError, match="more than"):
        load_image(changed)


def rewrite(file, change=None, options=None, schema=SCHEMA):
    """Write a catalog again with a change in its first row, and the JSON that belongs to it."""
    table = pa.ipc.open_file(file.read_bytes()).read_all().to_pydict()
    for name, value in (change or {}).items():
        table[name][0] = value
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.table(table, schema=schema))
    change_json(file, {"bytes": file.stat().st_size})


def change_json(file, change):
    json_file = file.with_suffix(".json")
    plain = json.loads(json_file.read_text(encoding="utf-8"))
    json_file.write_text(json.dumps(plain | change), encoding="utf-8")


@pytest.fixture
def bars(tmp_path):
    return write_bars(tmp_path / "bars" / "uncropped.arrow").file


def test_a_valid_catalog_of_another_writer_is_opened(bars):
    rewrite(bars)
    assert len(Catalog.open(bars)) == 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../etc/passwd"}, "leads out of the folder"),
        ({"path": "/etc/passwd"}, "leads out of the folder"),
        ({"path": "a\x1b[31m"}, "leads out of the folder or is not plain text"),
        ({"path": None}, "empty cells"),
        ({"class_name": "another"}, "two names"),
        ({"label": 2**62}, "but it has 8 classes|but it has 9 classes"),
        ({"label": -1}, "labels run from -1"),
        ({"split": "holdout"}, "a split in it is unknown"),
        ({"jpeg": None}, "empty cells"),
    ],
)
def test_an_invalid_row_is_an_error(bars, change, message):
    rewrite(bars, change)
    with pytest.raises(ValueError, match=message):
        Catalog.open(bars)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_catalog_is_an_error(bars, codec):
    """It could state any size for what it decompresses to."""
    rewrite(bars, options=pa.ipc.IpcWriteOptions(compression=codec))
    with pytest.raises(ValueError, match="compressed"):
        Catalog.open(bars)


@pytest.mark.parametrize("kind", ["dictionary", "view", "large"])
def test_columns_of_another_type_are_an_error(bars, kind):
    types = {"dictionary": pa.dictionary(pa.int32(), pa.string()), "view": pa.string_view(), "large": pa.large_string()}
    position = SCHEMA.get_field_index("class_name")
    rewrite(bars, schema=SCHEMA.set(position, pa.field("class_name", types[kind])))
    with pytest.raises(ValueError, match=r"its columns are|not written by Pairlens"):
        Catalog.open(bars)


def test_an_offset_beyond_its_buffer_is_an_error(bars):
    """Arrow itself opens such a file, and reading the row ends the process."""
    data = bytearray(bars.read_bytes())
    # The first two offsets of the column of JPEGs, which follows the column of splits.
    offsets = struct.pack("<II", 0, Catalog.open(bars).jpeg(0).nbytes)
    position = data.index(offsets, data.index(b"testtest"))
    for offset in (2**31 - 1, 2**32 - 1):
        data[position + 4 : position + 8] = struct.pack("<I", offset)
        bars.write_bytes(data)
        with pytest.raises(ValueError, match="is not a catalog of Pairlens"):
            Catalog.open(bars)


@pytest.mark.parametrize("change", [{"size": 10**6}, {"size": 0}])
def test_a_description_of_a_size_out_of_range_is_an_error(bars, change):
    change_json(bars, change)
    with pytest.raises(ValueError, match="are out of range"):
        Catalog.open(bars)
