"""The open file of a prepared data set: its small columns in memory, its photos on the disk.

An Arrow file can be mapped into memory and read in place, but then a file that is cut short or changed while it is in use
ends the process: a page that is gone raises SIGBUS, and an offset that was changed after it was checked may point anywhere.
So the columns, and the positions of the photos, are copied once they are checked, and a photo is read like any other part of
a file: what is missing there is an error, and what is changed is a picture that cannot be decoded.
"""

import hashlib
import os
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairlens.data.arrow_checks import SCHEMA, read_table

TEXT_COLUMNS = ("path", "class_name", "split")


class FileStamp(NamedTuple):
    """Size, time of the last change in nanoseconds and inode of a file."""

    size: int
    changed: int
    inode: int


def file_stamp(file: Path) -> FileStamp:
    """Return the current stamp of a file; raises ValueError if the file no longer exists."""
    try:
        return _stamp_of(file.stat())
    except OSError as error:
        raise ValueError(f"{file} disappeared while it was in use ({error.strerror}); restore it") from error


def _stamp_of(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ino)


def add_row(hash_of_all: "hashlib._Hash", key: str, class_name: str, split: str, jpeg: bytes) -> None:
    """Add a row to the hash of a data set."""
    for part in (key.encode(), class_name.encode(), split.encode(), jpeg):
        # The length before each part keeps "ab" + "c" and "a" + "bc" apart.
        hash_of_all.update(len(part).to_bytes(8, "big"))
        hash_of_all.update(part)


class CatalogFile:
    """The rows of a prepared data set.

    Shapes:
        positions, lengths: int64 (row,), where the photo of each row lies in the file, in bytes.
    """

    def __init__(self, file: Path) -> None:
        """Open and check a file; raises the errors of `read_table`, and OSError."""
        self.file = file
        self._lock = Lock()
        # Without buffering, because each photo is read as a whole.
        self._opened = file.open("rb", buffering=0)
        with pa.memory_map(str(file)) as mapped:
            contents = mapped.read_buffer()
            table, self.class_names = read_table(contents)
            self.columns = _in_memory(table.select([name for name in SCHEMA.names if name != "jpeg"]))
            self.positions, self.lengths = _photo_positions(table["jpeg"], contents.address)

    def photo(self, row: int) -> bytes:
        """Return the JPEG file of a row; shorter than it should be if the file has been cut."""
        position, length = int(self.positions[row]), int(self.lengths[row])
        if hasattr(os, "pread"):
            return os.pread(self._opened.fileno(), length, position)
        # Windows has no reading at a position, and threads share the position of the file.
        with self._lock:
            self._opened.seek(position)
            return self._opened.read(length)

    def digest(self) -> str:
        """Return the hash of the contents that the file has now."""
        hash_of_all = hashlib.sha256()
        texts = zip(*(self.columns[name].to_pylist() for name in TEXT_COLUMNS), strict=True)
        for row, (key, class_name, split) in enumerate(texts):
            add_row(hash_of_all, key, class_name, split, self.photo(row))
        return hash_of_all.hexdigest()

    def stamp(self) -> FileStamp:
        """Return the stamp of the file that is open, which may have no name any more."""
        return _stamp_of(os.fstat(self._opened.fileno()))

    def __del__(self) -> None:
        opened = getattr(self, "_opened", None)
        if opened is not None:
            opened.close()


def _in_memory(table: pa.Table) -> pa.Table:
    """Return a copy of a table whose buffers do not lie in the file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _photo_positions(photos: pa.ChunkedArray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each photo lies in the file, and its length; `start` is the address of the mapped file."""
    positions, lengths = [], []
    for chunk in photos.chunks:
        _, offsets_buffer, values = chunk.buffers()
        # A chunk may be a slice of its buffers, and has one offset more than rows.
        offsets = np.frombuffer(offsets_buffer, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1].astype(np.int64)
        first = 0 if values is None else values.address - start
        positions.append(first + offsets[:-1])
        lengths.append(np.diff(offsets))
    return np.concatenate(positions), np.concatenate(lengths)
