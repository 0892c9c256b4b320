"""Features of photos that another program has computed, in a Parquet file: a data set whose photos are vectors.

The columns are `vector` (a list of numbers), `label` (text or whole numbers), `split` (train or test), and, if wanted,
`path` (of the photo, relative to the folder of the file) and `role` (query or gallery, of test rows).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import Tensor

from pairlens.core.files import check_not_linked
from pairlens.core.images import reduce_to_square
from pairlens.core.untrusted import escapes_folder, is_plain_text, regular_file
from pairlens.data.catalog_file import FileStamp, file_stamp
from pairlens.data.readers.table_file import column_names, read_columns

SUFFIX = ".parquet"
# Photos that are shown are stored as by `pairlens prepare`.
SIZE, QUALITY = 252, 95
# All vectors lie in memory.
MAX_BYTES = 8 << 30
# A small file must not claim much memory; real features compress to no less than a few bits each.
MAX_GROWTH = 128
_SMALL = 1 << 26
_ROWS, _BATCH_VALUES = 4096, 1 << 22
_TEXTS = ("label", "split", "path", "role")
_ROLES = ("query", "gallery")
_REMEDY = "write the file as docs/frozen.md shows"


class FeatureFile:
    """The rows of a file of features; it stands in the place of a `CatalogFile`.

    Attributes:
        file: the Parquet file.
        columns: a table with path, label, class_name and split.
        class_names: name of each label, those of training classes first.
        vectors: float32 (row, dim).
        unread: names of columns that are not known.
    """

    def __init__(self, file: Path) -> None:
        """Read and check a file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming what is wrong with it, and in which row.
        """
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not a file of features; give one as --source")
        self.file = file
        names = column_names(file)
        missing = [name for name in ("vector", "label", "split") if name not in names]
        if missing:
            raise ValueError(f"{file} has no column {missing[0]!r}, but {', '.join(names)[:200]}; {_REMEDY}")
        self.unread = tuple(name for name in names if name not in ("vector", *_TEXTS))
        texts = read_columns(file, _TEXTS, _limit(file))
        try:
            self.vectors = _read_vectors(file)
            self.columns, self.class_names = _table(texts)
        except (pa.ArrowException, KeyError, MemoryError, OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read as features: {error}; {_REMEDY}") from error
        # Without a path a row has no photo, whatever lies in the folder.
        self._has_paths = "path" in texts

    def photo(self, row: int) -> bytes:
        """Return the photo of a row as a small JPEG; empty if there is none, it is behind a link, or it cannot be read."""
        folder = self.file.parent
        file = folder / self.columns["path"][row].as_py()
        if not self._has_paths or not file.is_file():
            return b""
        try:
            check_not_linked(file, below=folder)
            return reduce_to_square(regular_file(file), SIZE, None, QUALITY)
        except (OSError, ValueError):
            return b""

    def digest(self) -> str:
        """Return the hash of all rows."""
        hash_of_all = hashlib.sha256(str(tuple(self.vectors.shape)).encode())
        for name in ("path", "class_name", "split"):
            # The length before each text keeps "ab" + "c" and "a" + "bc" apart.
            hash_of_all.update("".join(f"{len(text)} {text}" for text in self.columns[name].to_pylist()).encode())
        hash_of_all.update(self.vectors.numpy().data)
        return hash_of_all.hexdigest()

    def stamp(self) -> FileStamp:
        """Return the stamp of the file."""
        return file_stamp(self.file)


def _read_vectors(file: Path) -> Tensor:
    """Return the column `vector`, float32 (row, dim)."""
    with parquet.ParquetFile(regular_file(file)) as opened:
        name = next(name for name in opened.schema_arrow.names if name.strip().lower() == "vector")
        kind: Any = opened.schema_arrow.field(name).type
        if not _is_list_of_numbers(kind):
            raise ValueError(f"the column vector holds {kind}, not lists of numbers")
        # Not from the statistics of the columns: Arrow 26 ends the process when it opens damaged ones.
        rows, dim = opened.metadata.num_rows, _first_length(opened, name)
        allowed = _limit(file) // 4
        if rows * dim > allowed:
            raise ValueError(f"{rows:,} vectors of {dim:,} numbers are more than the {allowed:,} that are read of it")
        found = np.empty((rows, dim), np.float32)
        start = 0
        for batch in opened.iter_batches(max(1, min(_ROWS, _BATCH_VALUES // dim)), columns=[name]):
            batch.validate(full=True)
            part = _matrix(batch.column(0), found.shape[1], start)
            found[start : start + len(part)] = part
            start += len(part)
    if start != rows:
        raise ValueError(f"it states {rows:,} rows and has {start:,}")
    return torch.from_numpy(found)


def _is_list_of_numbers(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _limit(file: Path) -> int:
    """Return how many bytes are read of a file: real features are compressed to no less than a few bits each."""
    return min(MAX_BYTES, max(_SMALL, MAX_GROWTH * file.stat().st_size))


def _first_length(opened: parquet.ParquetFile, name: str) -> int:
    first = next(opened.iter_batches(1, columns=[name]), None)
    if first is None or not len(first):
        raise ValueError("it has no rows")
    first.validate(full=True)
    length = first.column(0).value_lengths()[0].as_py()
    if not length:
        raise ValueError("row 1 has no vector")
    return length


def _matrix(lists: Any, dim: int, start: int) -> np.ndarray:
    """Return some rows as a matrix; raises ValueError that names the first row (from 1) with another vector."""
    lengths = lists.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    _refuse(lengths != dim, start, f"has no vector of {dim} numbers, as others have")
    values = lists.flatten()
    if values.null_count:
        raise ValueError(f"a vector of the rows {start + 1} to {start + len(lengths)} has an empty number")
    with np.errstate(over="ignore"):
        matrix = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    _refuse(~np.isfinite(matrix).all(axis=1), start, "has a number that is not finite in float32")
    _refuse(~matrix.any(axis=1), start, "has a vector of zeros, which has no direction")
    return matrix


def _refuse(wrong: np.ndarray, start: int, what: str) -> None:
    if wrong.any():
        raise ValueError(f"row {start + int(wrong.argmax()) + 1} {what}")


def _table(texts: dict[str, list[str]]) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the columns of a data set, and the name of each label."""
    names, splits = texts["label"], _splits(texts)
    paths = texts.get("path") or [""] * len(names)
    keys = [path or f"row {row}" for row, path in enumerate(paths, 1)]
    _check_paths(keys)
    # The training classes have the first labels, each in the order of its first row.
    ordered = [name for name, split in zip(names, splits, strict=True) if split == "train"]
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*ordered, *names]))}
    for name in numbers:
        if not name or not is_plain_text(name):
            raise ValueError(
                f"row {names.index(name) + 1} has the label {name[:80]!r}; a label is text or a whole number"
            )
    labels = [numbers[name] for name in names]
    columns = {"path": keys, "label": labels, "class_name": names, "split": splits}
    return pa.table(columns, schema=_SCHEMA), tuple(numbers)


_SCHEMA = pa.schema([("path", pa.string()), ("label", pa.int64()), ("class_name", pa.string()), ("split", pa.string())])


def _splits(texts: dict[str, list[str]]) -> list[str]:
    """Return the split of each row: train, test, query or gallery."""
    found = texts["split"]
    roles = texts.get("role") or [""] * len(found)
    has_roles = any(roles)
    for row, (split, role) in enumerate(zip(found, roles, strict=True), 1):
        if split not in ("train", "test"):
            raise ValueError(f"row {row} has the split {split[:80]!r}, which is neither train nor test")
        wanted = _ROLES if has_roles and split == "test" else ("",)
        if role not in wanted:
            named = "query or gallery" if wanted == _ROLES else "nothing"
            raise ValueError(f"row {row}, of the split {split}, has the role {role[:80]!r}, which must be {named}")
    for split in ("train", "test"):
        if split not in found:
            raise ValueError(f"no row has the split {split}")
    return [role or split for split, role in zip(found, roles, strict=True)]


def _check_paths(keys: Sequence[str]) -> None:
    """Raise ValueError for a path that leads out of the folder, is no plain text, or is there twice."""
    seen: set[str] = set()
    for row, key in enumerate(keys, 1):
        if escapes_folder(key) or not is_plain_text(key):
            raise ValueError(
                f"row {row} has the path {key[:80]!r}, which does not name a file below the folder of the features"
            )
        if key in seen:
            raise ValueError(f"row {row} has the path {key[:80]!r}, which another row has")
        seen.add(key)
