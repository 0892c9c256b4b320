"""A CSV or Parquet table: label, path, split and, where wanted, is_query, is_gallery, x_1, y_1, x_2, y_2."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from pairlens.data.listing import Box, Listing, Photo, Split

_REQUIRED = ("label", "path", "split")
_FLAGS = ("is_query", "is_gallery")
_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_KNOWN = (*_REQUIRED, *_FLAGS, *_CORNERS)

_EMPTY = frozenset({"", "none", "nan", "null", "na"})


def read(file: Path) -> Listing:
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
    return Listing("csv", file.parent, tuple(photos))


def _columns(file: Path) -> dict[str, list[str]]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; name a .csv or .parquet table")
    try:
        match file.suffix.lower():
            case ".csv":
                # Everything is read as text, so that the labels 007 and 7 stay two classes.
                table = csv.read_csv(
                    file, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_KNOWN, pa.string()))
                )
            case ".parquet":
                table = parquet.read_table(file)
            case other:
                raise ValueError(f"the suffix {other!r} is neither .csv nor .parquet")
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a table ({error}); write it as CSV or Parquet") from error
    twice = [name for name in _KNOWN if table.column_names.count(name) > 1]
    if twice:
        raise ValueError(f"{file} has the column {twice[0]!r} twice; keep one")
    return {name: [_text(cell) for cell in table[name].to_pylist()] for name in table.column_names if name in _KNOWN}


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
