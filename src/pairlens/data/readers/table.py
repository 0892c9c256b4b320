"""A CSV or Parquet table: label, path, split and, where wanted, is_query, is_gallery, x_1, y_1, x_2, y_2."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from pairlens.core.untrusted import MAX_JSON_BYTES
from pairlens.data.annotations import Annotations, Box, Photo, Split

_REQUIRED = ("label", "path", "split")
_FLAGS = ("is_query", "is_gallery")
_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_KNOWN = (*_REQUIRED, *_FLAGS, *_CORNERS)

MOST_ROWS = 50_000_000
MOST_LETTERS = 10_000

_EMPTY = frozenset({"", "none", "nan", "null", "na"})


def read(file: Path) -> Annotations:
    """List the photos of a table; paths are relative to the table's folder, and other columns are ignored.

    The split is train, test, query or gallery, or validation in place of test. A test row with one of the flags
    is_query and is_gallery becomes query or gallery; with both, or without these columns, it stays test and is
    both at once. Empty corners mean that a photo has no box.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if it is no table, a column is missing, or a row breaks one of these rules.
    """
    columns = _columns(file)
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; give it the columns {', '.join(_REQUIRED)}")
    if {"test", "validation"} <= set(columns["split"]):
        raise ValueError(f"{file} has both test and validation rows; call the validation rows train or leave them out")
    rows = [_Row(file, number, cells) for number, cells in enumerate(_rows(columns), start=1)]
    photos = sorted((row.photo() for row in rows), key=lambda photo: photo.class_name)
    splits = {photo.split for photo in photos}
    if "test" in splits and splits & {"query", "gallery"}:
        raise ValueError(
            f"{file} has test photos that are query and gallery at once beside others that are one of both; "
            "make every test photo one, or every one both"
        )
    return Annotations("csv", file.parent, tuple(photos))


def _columns(file: Path) -> dict[str, list[str]]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; name a .csv or .parquet table")
    try:
        table = _table(file)
    # A damaged Parquet file also makes Arrow miss a column that its own schema names.
    except (pa.ArrowException, KeyError, MemoryError, OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a table ({error}); write it as CSV or Parquet") from error
    twice = [name for name in _KNOWN if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{file} has the column {twice[0]!r} twice; keep one")
    return {name: [_text(cell) for cell in _cells(file, table[name])] for name in table.column_names if name in _KNOWN}


def _table(file: Path) -> pa.Table:
    match file.suffix.lower():
        case ".csv":
            if file.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"it has more than {MAX_JSON_BYTES:,} bytes")
            # Everything is read as text, so that the labels 007 and 7 stay two classes.
            return csv.read_csv(
                file, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_KNOWN, pa.string()))
            )
        case ".parquet":
            return _parquet(file)
        case other:
            raise ValueError(f"the suffix {other!r} is neither .csv nor .parquet")


def _parquet(file: Path) -> pa.Table:
    """Read the known columns; texts stay in their dictionaries, as a small file may repeat a long one without end."""
    schema = parquet.read_schema(file)
    known = [name for name in schema.names if name in _KNOWN]
    nested = [
        name
        for name in set(known)
        if any(pa.types.is_nested(schema.field(i).type) for i in schema.get_all_field_indices(name))
    ]
    if nested:
        raise ValueError(f"the column {nested[0]!r} holds lists")
    with parquet.ParquetFile(file, read_dictionary=known) as opened:
        told = opened.metadata
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        if told.num_rows > MOST_ROWS or size > MAX_JSON_BYTES:
            raise ValueError(
                f"it says that it has {told.num_rows:,} rows in {size:,} bytes, more than any list of photos"
            )
        table = opened.read(known)
    # Arrow reads an index into a dictionary as it finds it, until it is asked whether all is well.
    table.validate(full=True)
    return table


def _cells(file: Path, column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        longest = (
            max((len(str(text)) for text in column.chunk(0).dictionary.to_pylist()), default=0) if len(column) else 0
        )
        if longest > MOST_LETTERS:
            raise ValueError(f"{file} has a cell of {longest:,} letters; a path or label is shorter")
    return column.to_pylist()


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _rows(columns: dict[str, list[str]]) -> list[dict[str, str]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class _Row:
    """One row of the table; `number` counts from 1 and leaves the heading out."""

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
        path = Path(os.path.normpath(folder / self.cells["path"]))
        if not self.cells["path"] or not path.is_relative_to(folder) or path == folder:
            raise self._fault(f"the path {self.cells['path']!r} does not lead to a photo inside the table's folder")
        return path.relative_to(folder).as_posix()

    def _split(self) -> Split:
        match self.cells["split"]:
            case "train" | "query" | "gallery" as split:
                return split
            case "test" | "validation":
                return self._side()
            case other:
                raise self._fault(f"the split {other!r} is none of train, test, validation, query, gallery")

    def _side(self) -> Split:
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
                raise self._fault(f"{name} is {text!r}, neither true nor false")

    def _box(self) -> Box | None:
        texts = [self.cells.get(name, "") for name in _CORNERS]
        if all(text.lower() in _EMPTY for text in texts):
            return None
        try:
            left, top, right, bottom = (round(float(text)) for text in texts)
        except (ValueError, OverflowError) as error:
            raise self._fault(f"the box {', '.join(texts)} is not four numbers of pixels") from error
        return left, top, right, bottom
