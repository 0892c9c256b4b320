"""Tables of photos for a collection: a path in each row, an optional label and box, and everything else as metadata."""

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from unicodedata import normalize

from pairlens.collection.item import MAX_WHOLE, Value, checked_key, checked_metadata
from pairlens.core.boxes import Box, ShareBox
from pairlens.core.untrusted import is_plain_text
from pairlens.data.readers.box_units import boxes_in_one_unit
from pairlens.data.readers.table_file import column_names, read_columns

_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_OWN = ("path", "label", *_CORNERS)
_TRUTHS = {"true": True, "false": False}
# Article and telephone numbers such as 00123 and +49170 would lose signs as numbers, and so would numbers with more digits
# than JSON keeps; they stay texts.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"-?((0|[1-9][0-9]{0,15})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class TableRow:
    """One row; `number` counts from 1 without the heading."""

    number: int
    path: str
    label: str | None
    box: Box | ShareBox | None
    metadata: dict[str, Value]


@dataclass(frozen=True)
class SourceTable:
    """A table that was read."""

    file: Path
    rows: tuple[TableRow, ...]


def read_source_table(file: Path) -> SourceTable:
    """Return the rows of a CSV or Parquet table.

    Its column path names the photos. A column label, and the columns x_1, y_1, x_2, y_2 of a box in pixels or in shares, are
    optional. The columns that are left become metadata: numbers if every value of the column is one, truth values if every
    value is true or false, else texts; an empty cell is a missing value.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if it is not a table, has no column path, or a cell breaks a rule; the message names its row.
    """
    names = column_names(file)
    if "path" not in names:
        raise ValueError(f"{file} has no column 'path'; it needs one, with the paths of the photos")
    columns = read_columns(file, tuple(names))
    count = len(columns["path"])
    boxes = boxes_in_one_unit([(f"{file}, row {n + 1}", _corners(file, columns, n)) for n in range(count)])
    extra = {_key(file, name): _typed(texts) for name, texts in columns.items() if name not in _OWN}
    rows = []
    for n in range(count):
        try:
            metadata = checked_metadata({name: values[n] for name, values in extra.items() if values[n] is not None})
        except ValueError as error:
            raise ValueError(f"{file}, row {n + 1}: {error}") from error
        rows.append(TableRow(n + 1, _path(file, columns, n), _label(file, columns, n), boxes[n], metadata))
    return SourceTable(file, tuple(rows))


def _key(file: Path, name: str) -> str:
    try:
        return checked_key(name)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _path(file: Path, columns: dict[str, list[str]], n: int) -> str:
    path = columns["path"][n]
    if not path or not is_plain_text(path):
        raise ValueError(f"{file}, row {n + 1}: the path {path!r} is empty or has control characters; correct the row")
    return path


def _label(file: Path, columns: dict[str, list[str]], n: int) -> str | None:
    label = columns["label"][n] if "label" in columns else ""
    if not is_plain_text(label):
        raise ValueError(f"{file}, row {n + 1}: the label {label!r} has control characters; correct the row")
    return normalize("NFC", label) or None


def _corners(file: Path, columns: dict[str, list[str]], n: int) -> tuple[float, float, float, float] | None:
    texts = [columns[name][n] if name in columns else "" for name in _CORNERS]
    if not any(texts):
        return None
    try:
        left, top, right, bottom = map(float, texts)
    except ValueError as error:
        raise ValueError(
            f"{file}, row {n + 1}: the box {', '.join(texts)} is not four numbers; correct the row"
        ) from error
    corners = (left, top, right, bottom)
    # Also refuses NaN and infinity, which no comparison holds for.
    if not all(abs(corner) < 1 << 31 for corner in corners):
        raise ValueError(f"{file}, row {n + 1}: the box {', '.join(texts)} is not inside a photo; correct the row")
    return corners


def _typed(texts: list[str]) -> list[Value]:
    """Return the values of a column: numbers or truth values if all of its cells are such, else texts."""
    given = [text for text in texts if text]
    if given and all(text.lower() in _TRUTHS for text in given):
        return [_TRUTHS.get(text.lower()) for text in texts]
    if given and all(_WHOLE.fullmatch(text) and _is_number(text) for text in given):
        return [int(text) if text else None for text in texts]
    # Programs write a missing number as nan.
    numbers = [text for text in given if text.lower() != "nan"]
    if numbers and all(map(_is_number, numbers)):
        return [float(text) if text and text.lower() != "nan" else None for text in texts]
    return [text or None for text in texts]


def _is_number(text: str) -> bool:
    """Return whether a text is a number that keeps all its digits as one."""
    if _WHOLE.fullmatch(text):
        return abs(int(text)) <= MAX_WHOLE
    return _NUMBER.fullmatch(text) is not None and isfinite(float(text))
