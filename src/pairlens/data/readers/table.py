"""Reader of CSV and Parquet tables: label, path and optionally split, is_query, is_gallery, x_1, y_1, x_2, y_2."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.boxes import Box, ShareBox
from pairlens.data.annotations import Annotations, Photo, Split, number_boxes
from pairlens.data.photo_paths import with_slashes
from pairlens.data.readers.box_units import Corners, boxes_in_one_unit
from pairlens.data.readers.table_file import Columns, read_columns
from pairlens.data.split import halve_classes

_REQUIRED = ("label", "path")
_FLAGS = ("is_query", "is_gallery")
_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_KNOWN = (*_REQUIRED, "split", *_FLAGS, *_CORNERS)

# How programs write a missing value, in lower case.
_EMPTY = frozenset({"", "none", "nan", "null", "na"})


def read(file: Path) -> Annotations:
    """List the photos of a table. Paths are relative to the folder of the table; other columns are ignored.

    The split is train, test, query or gallery; validation may be used instead of test. A test row with one of the flags
    is_query and is_gallery becomes query or gallery; with both, or without these columns, it stays test and is used as
    query and as gallery. Without the column split, the first half of the labels, sorted, is for training. Empty corners
    mean that a photo has no bounding box. Boxes are in pixels, or all of them within 0 to 1 as shares of width and height. A
    path may occur in several rows if their boxes differ; it may have backslashes.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if the file is not a table, a column is missing, or a row breaks one of these rules.
    """
    columns = read_columns(file, _KNOWN)
    # The flags say what a test photo is used for, so they need the split.
    required = (*_REQUIRED, "split") if any(name in columns for name in _FLAGS) else _REQUIRED
    missing = [name for name in required if name not in columns]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; it needs the columns {', '.join(required)}")
    if {"test", "validation"} <= set(columns.get("split", ())):
        raise ValueError(f"{file} has both test and validation rows; call the validation rows train or leave them out")
    rows = [_Row(file, number, cells) for number, cells in enumerate(_rows(columns), start=1)]
    # Boxes are numbered in the order of the table, before the rows are sorted.
    boxes = boxes_in_one_unit([(f"{file}, row {row.number}", row.corners()) for row in rows])
    numbered = number_boxes(row.photo(box) for row, box in zip(rows, boxes, strict=True))
    photos = sorted(numbered, key=lambda photo: photo.class_name)
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


def _rows(columns: Columns) -> list[dict[str, str]]:
    # From columns to rows: one dictionary per row.
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class _Row:
    """One row of the table; `number` counts from 1 without the heading."""

    file: Path
    number: int
    cells: dict[str, str]

    def photo(self, box: Box | ShareBox | None) -> Photo:
        if not self.cells["label"]:
            raise self._fault("the label is empty")
        return Photo(self._path(), self.cells["label"], self._split(), box)

    def _fault(self, reason: str) -> ValueError:
        return ValueError(f"{self.file}, row {self.number}: {reason}; correct the row")

    def _path(self) -> str:
        folder = self.file.parent.absolute()
        # normpath removes "." and ".." without reading the disk; an absolute path in the cell replaces the folder.
        path = Path(os.path.normpath(folder / with_slashes(self.cells["path"], folder)))
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

    def corners(self) -> Corners | None:
        """Return the corners of the row's box as they are written; None if it has no box."""
        texts = [self.cells.get(name, "") for name in _CORNERS]
        if all(text.lower() in _EMPTY for text in texts):
            return None
        try:
            left, top, right, bottom = map(float, texts)
        except ValueError as error:
            raise self._fault(f"the box {', '.join(texts)} is not four numbers of pixels") from error
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise self._fault(f"the box {', '.join(texts)} is not four numbers of pixels")
        return left, top, right, bottom
