"""Reader of CSV and Parquet tables: label, path and optionally split, is_query, is_gallery, x_1, y_1, x_2, y_2."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from pairlens.core.boxes import Box
from pairlens.core.untrusted import MAX_JSON_BYTES, regular_file
from pairlens.data.annotations import Annotations, Photo, Split, number_boxes
from pairlens.data.split import halve_classes

_REQUIRED = ("label", "path")
_FLAGS = ("is_query", "is_gallery")
_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_KNOWN = (*_REQUIRED, "split", *_FLAGS, *_CORNERS)

MAX_ROWS = 50_000_000
MAX_LETTERS = 10_000

# How programs write a missing value, in lower case.
_EMPTY = frozenset({"", "none", "nan", "null", "na"})


def read(file: Path) -> Annotations:
    """List the photos of a table. Paths are relative to the folder of the table; other columns are ignored.

    The split is train, test, query or gallery; validation may be used instead of test. A test row with one of the flags
    is_query and is_gallery becomes query or gallery; with both, or without these columns, it stays test and is used as
    query and as gallery. Without the column split, the first half of the labels, sorted, is for training. Empty corners
    mean that a photo has no bounding box. A path may occur in several rows if their boxes differ.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if the file is not a table, a column is missing, or a row breaks one of these rules.
    """
    columns = _columns(file)
    # The flags say what a test photo is used for, so they need the split.
    required = (*_REQUIRED, "split") if any(name in columns for name in _FLAGS) else _REQUIRED
    missing = [name for name in required if name not in columns]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; it needs the columns {', '.join(required)}")
    if {"test", "validation"} <= set(columns.get("split", ())):
        raise ValueError(f"{file} has both test and validation rows; call the validation rows train or leave them out")
    rows = [_Row(file, number, cells) for number, cells in enumerate(_rows(columns), start=1)]
    # Boxes are numbered in the order of the table, before the rows are sorted.
    photos = sorted(number_boxes(row.photo() for row in rows), key=lambda photo: photo.class_name)
    splits = {photo.split for photo in photos}
    if "test" in splits and splits & {"query", "gallery"}:
        raise ValueError(
            f"{file} has test photos that are both query and gallery, and others that are only one of them; do the "
            "same for every test photo"
        )
    if "split" in columns:
        return Annotations("csv", file.parent, tuple(photos))
    classes = sorted({photo.class_name for photo in photos})
    return Annotations("csv", file.parent, halve_classes(photos, classes), given=False)


def _columns(file: Path) -> dict[str, list[str]]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; use a .csv or .parquet table")
    try:
        table = _table(file)
    # KeyError: in a damaged Parquet file Arrow may not find a column that the schema names.
    except (pa.ArrowException, KeyError, MemoryError, OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a table ({error}); write it as CSV or Parquet") from error
    twice = [name for name in _KNOWN if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{file} has the column {twice[0]!r} twice; keep one")
    known = [name for name in table.column_names if name in _KNOWN]
    return {name: [_text(cell) for cell in _cells(file, table[name])] for name in known}


def _table(file: Path) -> pa.Table:
    match file.suffix.lower():
        case ".csv":
            if file.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"it has more than {MAX_JSON_BYTES:,} bytes")
            # All columns are read as text, so that the labels 007 and 7 stay two classes.
            as_text = csv.ConvertOptions(column_types=dict.fromkeys(_KNOWN, pa.string()))
            return csv.read_csv(regular_file(file), convert_options=as_text)
        case ".parquet":
            return _parquet(file)
        case other:
            raise ValueError(f"the suffix {other!r} is neither .csv nor .parquet")


def _parquet(file: Path) -> pa.Table:
    """Read the known columns of a Parquet file.

    Texts stay dictionary-encoded: a small file may repeat one long text millions of times.
    """
    # Nested columns are rejected by the schema alone, before any column is read.
    schema = parquet.read_schema(regular_file(file))
    known = [name for name in schema.names if name in _KNOWN]
    nested = [
        name
        for name in set(known)
        if any(pa.types.is_nested(schema.field(i).type) for i in schema.get_all_field_indices(name))
    ]
    if nested:
        raise ValueError(f"the column {nested[0]!r} holds lists or structures")
    with parquet.ParquetFile(regular_file(file), read_dictionary=known) as opened:
        # What the file states about its size, before anything is decompressed.
        metadata = opened.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if metadata.num_rows > MAX_ROWS or size > MAX_JSON_BYTES:
            raise ValueError(f"it states {metadata.num_rows:,} rows in {size:,} bytes, more than any list of photos")
        table = opened.read(known)
    # Arrow does not check the indices into a dictionary when it reads them; an index beyond its end would read other memory.
    table.validate(full=True)
    return table


def _cells(file: Path, column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        # After unification all chunks share the dictionary of the first one. A column without rows has no chunk.
        column = column.unify_dictionaries()
        texts = column.chunk(0).dictionary.to_pylist() if len(column) else []
        longest = max((len(str(text)) for text in texts), default=0)
        if longest > MAX_LETTERS:
            raise ValueError(
                f"{file} has a cell of {longest:,} letters; use paths and labels of at most {MAX_LETTERS:,}"
            )
    return column.to_pylist()


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _rows(columns: dict[str, list[str]]) -> list[dict[str, str]]:
    # From columns to rows: one dictionary per row.
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class _Row:
    """One row of the table; `number` counts from 1 without the heading."""

    file: Path
    number: int
    cells: dict[str, str]

    def photo(self) -> Photo:
        if not self.cells["label"]:
            raise self._fault("the label is empty")
        return Photo(self._path(), self.cells["label"], self._split(), self._box())

    def _fault(self, reason: str) -> ValueError:
        return ValueError(f"{self.file}, row {self.number}: {reason}; correct the row")

    def _path(self) -> str:
        folder = self.file.parent.absolute()
        # normpath removes "." and ".." without reading the disk; an absolute path in the cell replaces the folder.
        path = Path(os.path.normpath(folder / self.cells["path"]))
        if not self.cells["path"] or not path.is_relative_to(folder) or path == folder:
            raise self._fault(f"the path {self.cells['path']!r} does not lead to a photo inside the table's folder")
        return path.relative_to(folder).as_posix()

    def _split(self) -> Split:
        # A table without the column gets its split from `halve_classes`.
        match self.cells.get("split", "train"):
            case "train" | "query" | "gallery" as split:
                return split
            case "test" | "validation":
                return self._test_split()
            case other:
                raise self._fault(f"the split {other!r} is not train, test, validation, query or gallery")

    def _test_split(self) -> Split:
        # Without the flags, test photos are query and gallery at once, as in CUB-200-2011 and Cars196.
        if not any(name in self.cells for name in _FLAGS):
            return "test"
        match self._flag("is_query"), self._flag("is_gallery"):
            case True, True:
                return "test"
            case True, False:
                return "query"
            case False, True:
                return "gallery"
            case _:
                raise self._fault("a test photo must be query, gallery or both")

    def _flag(self, name: str) -> bool:
        match self.cells.get(name, "").lower():
            case "true" | "1" | "1.0" | "yes":
                return True
            case text if text in _EMPTY or text in ("false", "0", "0.0", "no"):
                return False
            case text:
                raise self._fault(f"{name} is {text!r}, not true or false")

    def _box(self) -> Box | None:
        texts = [self.cells.get(name, "") for name in _CORNERS]
        if all(text.lower() in _EMPTY for text in texts):
            return None
        try:
            left, top, right, bottom = (round(float(text)) for text in texts)
        except (ValueError, OverflowError) as error:
            # OverflowError: infinity cannot be rounded.
            raise self._fault(f"the box {', '.join(texts)} is not four numbers of pixels") from error
        return left, top, right, bottom
