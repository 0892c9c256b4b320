"""Annotations of strangers: no list leads out of its folder, commands the terminal or has no end."""

import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import savemat

from pairlens.cli.console import say
from pairlens.cli.launch import guard
from pairlens.data.annotations import Annotations, Photo
from pairlens.data.readers import read


def element(kind, body):
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def head(kind, sides=(1, 1), name=b""):
    return (
        element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(sides)}i", *sides)) + element(1, name)
    )


def mat(*bodies):
    return b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + b"".join(bodies)


def nested(depth):
    inner, length, heads = element(14, head(6) + element(9, bytes(8))), 0, []
    length = len(inner)
    for _ in range(depth):
        heads.append(struct.pack("<II", 14, len(head(1)) + length) + head(1))
        length += len(heads[-1])
    return b"".join([*reversed(heads), inner])


# A depth of thousands ends the process inside scipy; a length of 0 hides the depth from whoever believes lengths.
HIDDEN = struct.pack("<II", 14, 8) + head(1)


@pytest.mark.parametrize(
    "contents",
    {
        "deep": mat(nested(50_000)),
        "deep, lengths hidden": mat(struct.pack("<II", 14, 56 * 50_001) + head(1) + HIDDEN * 50_000),
        "deep, compressed": mat(
            struct.pack("<II", 15, len(zlib.compress(nested(50_000)))) + zlib.compress(nested(50_000))
        ),
        "letters without end": mat(element(14, head(4, (2**31 - 1, 2**31 - 1)) + element(4, b""))),
        "cells without end": mat(element(14, head(1, (2**24, 1)))),
        "a function": mat(element(14, head(16) + element(14, b""))),
        "an old version": bytes(40),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_mat_file_that_lies_is_refused_before_scipy_reads_it(tmp_path, contents, monkeypatch):
    (tmp_path / "cars_annos.mat").write_bytes(contents[1])
    monkeypatch.setattr("pairlens.data.readers.cars196.loadmat", lambda *_, **__: pytest.fail("scipy was asked"))
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


def test_a_mat_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.mat_checks.MOST_BYTES", 1 << 22)
    packed = zlib.compress(bytes((1 << 22) + 1), 9)
    (tmp_path / "cars_annos.mat").write_bytes(mat(struct.pack("<II", 15, len(packed)) + packed))
    assert len(packed) < 10_000
    with pytest.raises(ValueError, match="unpacks to more than"):
        read("car", tmp_path)


def test_objects_of_matlab_are_refused(tmp_path):
    savemat(
        tmp_path / "cars_annos.mat", {"annotations": np.array([[{"a": 1}]], dtype=object), "class_names": np.arange(3)}
    )
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


@pytest.mark.parametrize(
    "path", ["../up.jpg", "/etc/passwd", "a/../../up.jpg", "..\\up.jpg", "C:\\up.jpg", "a/..", "a/", ""]
)
def test_no_list_leads_out_of_its_folder(tmp_path, path):
    with pytest.raises(ValueError, match="is not inside"):
        Annotations("x", tmp_path, (Photo(path, "a", "train"), Photo("b.jpg", "b", "test")))


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\x00", "caf\udce9", "\x9b31m"])
def test_no_name_commands_the_terminal(tmp_path, text):
    for photo in (Photo(f"{text}.jpg", "a", "train"), Photo("a.jpg", text, "train")):
        with pytest.raises(ValueError, match="control character or is not UTF-8"):
            Annotations("x", tmp_path, (photo,))


def test_what_is_printed_commands_no_terminal(capsys):
    say("class \x1b[2J\x9b1m")
    with pytest.raises(SystemExit):
        guard(lambda: (_ for _ in ()).throw(ValueError("\x1b]0;owned\x07")))
    out, err = capsys.readouterr()
    assert out == "class \\x1b[2J\\x9b1m\n"
    assert "\x1b" not in err


def test_a_parquet_table_repeats_no_long_text_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.table.MOST_ROWS", 3000)
    for long, rows in (("x" * 20_000, 2000), ("x", 3001)):
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([long]))
        table = pa.table({"label": column, "path": column, "split": column})
        parquet.write_table(table, tmp_path / "t.parquet", row_group_size=rows)
        assert (tmp_path / "t.parquet").stat().st_size < 200_000
        with pytest.raises(ValueError, match=r"letters|more than any list"):
            read("csv", tmp_path / "t.parquet")
