"""Untrusted annotations cannot lead out of their folder, control the terminal or exhaust the memory."""

import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import savemat

from pairlens.cli.launch import guard
from pairlens.cli.terminal import say
from pairlens.data.annotations import Annotations, Photo
from pairlens.data.readers import read


def element(kind, body):
    """A data element of a MAT file: type, length and value, padded to eight bytes."""
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def head(kind, sides=(1, 1), name=b""):
    """The header of an array of a MAT file: class, dimensions and name."""
    return (
        element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(sides)}i", *sides)) + element(1, name)
    )


def mat(*bodies):
    return b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + b"".join(bodies)


def nested(depth):
    """A number inside `depth` cells, each of which is the only item of the next."""
    inner = element(14, head(6) + element(9, bytes(8)))
    headers = []
    length = len(inner)
    for _ in range(depth):
        headers.append(struct.pack("<II", 14, len(head(1)) + length) + head(1))
        length += len(headers[-1])
    return b"".join([*reversed(headers), inner])


# A depth of thousands ends the process inside scipy. A cell that states a length of 8 hides the depth from a check that
# trusts the stated lengths.
CELL_WITH_FALSE_LENGTH = struct.pack("<II", 14, 8) + head(1)
DEEP_COMPRESSED = zlib.compress(nested(50_000))


@pytest.mark.parametrize(
    "contents",
    {
        "deep": mat(nested(50_000)),
        "deep, false lengths": mat(struct.pack("<II", 14, 56 * 50_001) + head(1) + CELL_WITH_FALSE_LENGTH * 50_000),
        "deep, compressed": mat(struct.pack("<II", 15, len(DEEP_COMPRESSED)) + DEEP_COMPRESSED),
        "too many letters": mat(element(14, head(4, (2**31 - 1, 2**31 - 1)) + element(4, b""))),
        "too many cells": mat(element(14, head(1, (2**24, 1)))),
        "a function": mat(element(14, head(16) + element(14, b""))),
        "an old version": bytes(40),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_malicious_mat_file_is_an_error_before_scipy_reads_it(tmp_path, contents, monkeypatch):
    (tmp_path / "cars_annos.mat").write_bytes(contents[1])
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("scipy read the file"))
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


def test_a_small_mat_file_that_unpacks_to_too_much_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.mat_checks.MAX_JSON_BYTES", 1 << 22)
    compressed = zlib.compress(bytes((1 << 22) + 1), 9)
    (tmp_path / "cars_annos.mat").write_bytes(mat(struct.pack("<II", 15, len(compressed)) + compressed))
    assert len(compressed) < 10_000
    with pytest.raises(ValueError, match="unpacks to more than"):
        read("car", tmp_path)


def test_annotations_of_another_structure_are_an_error(tmp_path):
    contents = {"annotations": np.array([[{"a": 1}]], dtype=object), "class_names": np.arange(3)}
    savemat(tmp_path / "cars_annos.mat", contents)
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


@pytest.mark.parametrize(
    "path", ["../up.jpg", "/etc/passwd", "a/../../up.jpg", "..\\up.jpg", "C:\\up.jpg", "a/..", "a/", ""]
)
def test_a_path_out_of_the_folder_is_an_error(tmp_path, path):
    with pytest.raises(ValueError, match="is not inside"):
        Annotations("x", tmp_path, (Photo(path, "a", "train"), Photo("b.jpg", "b", "test")))


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\x00", "caf\udce9", "\x9b31m"])
def test_a_name_with_a_control_character_is_an_error(tmp_path, text):
    for photo in (Photo(f"{text}.jpg", "a", "train"), Photo("a.jpg", text, "train")):
        with pytest.raises(ValueError, match="control character or is not UTF-8"):
            Annotations("x", tmp_path, (photo,))


def test_control_characters_are_printed_as_text(capsys):
    say("class \x1b[2J\x9b1m")
    with pytest.raises(SystemExit):
        guard(lambda: (_ for _ in ()).throw(ValueError("\x1b]0;owned\x07")))
    out, err = capsys.readouterr()
    assert out == "class \\x1b[2J\\x9b1m\n"
    assert "\x1b" not in err


def test_a_small_parquet_table_of_a_long_text_or_many_rows_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.table_file.MAX_ROWS", 3000)
    for text, rows in (("x" * 20_000, 2000), ("x", 3001)):
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([text]))
        table = pa.table({"label": column, "path": column, "split": column})
        parquet.write_table(table, tmp_path / "t.parquet", row_group_size=rows)
        assert (tmp_path / "t.parquet").stat().st_size < 200_000
        with pytest.raises(ValueError, match=r"letters|more than any list"):
            read("csv", tmp_path / "t.parquet")
