"""The bytes of a prepared data set as a table, held against everything that a catalog promises before a row is used.

Arrow trusts what it opens: an offset beyond its buffer is read when a row is asked for, and a compressed buffer says
itself how much memory it wants. So nothing compressed is opened, and every offset is checked once.
"""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairlens.core.untrusted import LEADS_OUT
from pairlens.data.annotations import SPLITS

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
        ("split", pa.string()),
        ("jpeg", pa.binary()),
    ]
)

_MAGIC = b"ARROW1\0\0"
_CONTROLS = r"[\x00-\x1f\x7f\x{80}-\x{9f}]"


def read_table(contents: pa.Buffer) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the rows of an Arrow file, in place, and the name of each class.

    The batches are read one after the other, as they were written; the list of them at the end of the file is not needed.

    Raises:
        ArrowException: if it is no Arrow file, is cut short, or an offset in it leads out of its buffer.
        ValueError: if it has other columns, a compressed buffer, an empty cell, labels that do not count the classes, an
            unknown split, or a path that leaves the folder.
    """
    if contents.slice(0, len(_MAGIC)).to_pybytes() != _MAGIC:
        raise ValueError("it does not begin as an Arrow file")
    batches = contents.slice(len(_MAGIC))
    _refuse_compression(batches)
    reader = pa.ipc.open_stream(batches)
    if not reader.schema.equals(SCHEMA):
        raise ValueError(f"its columns are {', '.join(reader.schema.names)[:200]}")
    table = reader.read_all()
    table.validate(full=True)
    return table, _class_names(table)


def _refuse_compression(batches: pa.Buffer) -> None:
    messages = pa.ipc.MessageReader.open_stream(batches)
    first = True
    for message in iter(lambda: _next(messages), None):
        if not first and (message.type != "record batch" or _is_compressed(message.metadata.to_pybytes())):
            raise ValueError(f"it holds a {message.type} that is compressed or not Pairlens's")
        first = False


def _next(messages: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch has the field `compression` (format/Message.fbs of Arrow; a table of FlatBuffers)."""
    try:
        message = struct.unpack_from("<I", metadata)[0]
        batch = _field(metadata, message, 2)
        return batch == 0 or _field(metadata, batch, 3) != 0
    except struct.error:
        return True


def _field(metadata: bytes, table: int, number: int) -> int:
    """Return where the table that a field refers to begins; 0 if the field is absent."""
    layout = table - struct.unpack_from("<i", metadata, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", metadata, layout)[0]:
        return 0
    place = struct.unpack_from("<H", metadata, layout + 4 + 2 * number)[0]
    return place and table + place + struct.unpack_from("<I", metadata, table + place)[0]


def _class_names(table: pa.Table) -> tuple[str, ...]:
    empty = [name for name in table.column_names if table[name].null_count]
    if empty or not len(table):
        raise ValueError(f"it has empty cells in the column {empty[0]}" if empty else "it has no rows")
    labels = table["label"].to_numpy()
    numbers, first = np.unique(labels, return_index=True)
    if numbers[0] != 0 or numbers[-1] != len(numbers) - 1:
        raise ValueError(f"its labels run from {numbers[0]} to {numbers[-1]}, but count {len(numbers)} classes")
    names = table["class_name"].take(pa.array(first)).combine_chunks()
    same = pc.call_function("equal", [names.take(table["label"].combine_chunks()), table["class_name"]])
    same = pc.call_function("all", [same]).as_py()
    known = set(table["split"].unique().to_pylist()) <= set(SPLITS)
    if not same or not known:
        raise ValueError("a class in it has two names" if not same else "a split in it is unknown")
    _refuse_texts(table["path"], f"{LEADS_OUT}|{_CONTROLS}", "a path in it leads out of the folder or is no text")
    _refuse_texts(names, _CONTROLS, "a class name in it has a control character")
    return tuple(names.to_pylist())


def _refuse_texts(texts: pa.ChunkedArray | pa.Array, pattern: str, sentence: str) -> None:
    options = pc.MatchSubstringOptions(pattern)
    wrong = texts.filter(pc.call_function("match_substring_regex", [texts], options))
    if len(wrong):
        raise ValueError(f"{sentence}: {wrong[0].as_py()[:200]!r}")
