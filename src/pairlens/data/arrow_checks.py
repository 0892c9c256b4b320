"""Validation of the Arrow file of a prepared data set.

Arrow does not check what it opens: an offset beyond its buffer is read when a row is accessed, which can end the process,
and a compressed buffer states by itself how much memory it needs. So compressed files are rejected, and every offset,
label, split and path is checked once, when the file is opened.
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

# Field numbers of the FlatBuffers tables `Message` and `RecordBatch`, in the order of format/Message.fbs of Arrow.
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3


def read_table(contents: pa.Buffer) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the rows of an Arrow file without copying them, and the name of each class.

    Raises:
        ArrowException: if it is not an Arrow file, is cut short, or an offset in it points outside its buffer.
        ValueError: if it has other columns, a compressed buffer, an empty cell, labels that are not 0 to classes - 1, an
            unknown split, or a path that leads out of the folder.
    """
    if contents.slice(0, len(_MAGIC)).to_pybytes() != _MAGIC:
        raise ValueError("it does not begin like an Arrow file")
    # An Arrow file is a stream of record batches between the magic bytes and a footer. Reading it as a stream needs no
    # footer, whose offsets would have to be checked as well.
    batches = contents.slice(len(_MAGIC))
    _check_uncompressed(batches)
    reader = pa.ipc.open_stream(batches)
    if not reader.schema.equals(SCHEMA):
        raise ValueError(f"its columns are {', '.join(reader.schema.names)[:200]}")
    table = reader.read_all()
    # A full validation checks every offset against the length of its buffer, and every text as UTF-8.
    table.validate(full=True)
    return table, _class_names(table)


def _check_uncompressed(batches: pa.Buffer) -> None:
    messages = pa.ipc.MessageReader.open_stream(batches)
    # The first message is the schema, which the caller compares with ours.
    _next_message(messages)
    while message := _next_message(messages):
        if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
            raise ValueError(f"it holds a {message.type} that is compressed or not written by Pairlens")


def _next_message(messages: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _is_compressed(metadata: bytes) -> bool:
    """Whether the metadata of a record batch has the field `compression`; true as well if it cannot be read."""
    try:
        # A FlatBuffer starts with the position of its root table, here `Message`.
        message = struct.unpack_from("<I", metadata)[0]
        batch = _target(metadata, message, _MESSAGE_HEADER)
        return batch is None or _target(metadata, batch, _BATCH_COMPRESSION) is not None
    except struct.error:
        return True


def _target(metadata: bytes, table: int, field: int) -> int | None:
    """Return the position of the table that a field of a FlatBuffers table refers to, or None if the field is absent."""
    # A table starts with the distance back to its vtable. A vtable is a row of 16-bit numbers: its size in bytes, the
    # size of the table, then for each field its offset from the start of the table, 0 if the field is absent.
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    vtable_size = struct.unpack_from("<H", metadata, vtable)[0]
    entry = 4 + 2 * field
    # A writer that does not know the field, or sets none behind it, ends the vtable earlier.
    if entry >= vtable_size:
        return None
    field_offset = struct.unpack_from("<H", metadata, vtable + entry)[0]
    if field_offset == 0:
        return None
    # A field that refers to a table holds the distance from itself to that table.
    target = struct.unpack_from("<I", metadata, table + field_offset)[0]
    return table + field_offset + target


def _class_names(table: pa.Table) -> tuple[str, ...]:
    """Check the cells of a catalog and return the name of each label."""
    empty = [name for name in table.column_names if table[name].null_count]
    if empty:
        raise ValueError(f"it has empty cells in the column {empty[0]}")
    if not len(table):
        raise ValueError("it has no rows")
    labels = table["label"].to_numpy()
    distinct, first_rows = np.unique(labels, return_index=True)
    if distinct[0] != 0 or distinct[-1] != len(distinct) - 1:
        raise ValueError(f"its labels run from {distinct[0]} to {distinct[-1]}, but it has {len(distinct)} classes")
    names = table["class_name"].take(pa.array(first_rows)).combine_chunks()  # (class,)
    # Looking up the name of each row's label must give the name in that row.
    names_by_label = names.take(table["label"].combine_chunks())  # (row,)
    equal = pc.call_function("equal", [names_by_label, table["class_name"]])
    if not pc.call_function("all", [equal]).as_py():
        raise ValueError("a class in it has two names")
    if not set(table["split"].unique().to_pylist()) <= set(SPLITS):
        raise ValueError("a split in it is unknown")
    _check_texts(table["path"], f"{LEADS_OUT}|{_CONTROLS}", "a path in it leads out of the folder or is not plain text")
    _check_texts(names, _CONTROLS, "a class name in it has a control character")
    return tuple(names.to_pylist())


def _check_texts(texts: pa.ChunkedArray | pa.Array, pattern: str, reason: str) -> None:
    # Arrow searches millions of texts in milliseconds, where a Python loop takes seconds.
    options = pc.MatchSubstringOptions(pattern)
    wrong = texts.filter(pc.call_function("match_substring_regex", [texts], options))
    if len(wrong):
        raise ValueError(f"{reason}: {wrong[0].as_py()[:200]!r}")
