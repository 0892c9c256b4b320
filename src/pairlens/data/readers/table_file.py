"""Tables as columns of text: CSV with any common separator and encoding, and Parquet."""

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from pairlens.core.untrusted import MAX_JSON_BYTES, read_bytes, regular_file

MAX_ROWS = 50_000_000
MAX_LETTERS = 10_000

_SEPARATORS = (",", ";", "\t", "|")
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
# The first bytes of a text file that say how it is encoded. Without one of them it is UTF-8.
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

Columns = dict[str, list[str]]


def read_columns(file: Path, known: tuple[str, ...], limit: int = MAX_JSON_BYTES) -> Columns:
    """Return the known columns of a table as lists of text without blanks at the ends; an empty text is a missing value.

    Names of columns may have capitals and blanks at their ends.

    Args:
        file: a CSV or Parquet file.
        known: names of the columns.
        limit: how many bytes a Parquet file may state for all of its columns.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a table, or has a column twice.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; use a .csv or .parquet table")
    try:
        return _parquet(file, known, limit) if file.suffix.lower() == ".parquet" else _text_table(file, known)
    # KeyError: in a damaged Parquet file Arrow may not find a column that the schema names.
    except (pa.ArrowException, KeyError, MemoryError, OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a table ({error}); write it as CSV or Parquet") from error


def column_names(file: Path) -> list[str]:
    """Return the names of all columns of a table, in lower case and without blanks at their ends.

    Raises:
        FileNotFoundError, ValueError: as `read_columns`.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; use a .csv or .parquet table")
    try:
        if file.suffix.lower() == ".parquet":
            return [_plain_name(name) for name in parquet.read_schema(regular_file(file)).names]
        return [name for name in _heading(_text_of(file))[0] if name]
    except (pa.ArrowException, KeyError, MemoryError, OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as a table ({error}); write it as CSV or Parquet") from error


def _plain_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().lower()


def _check_names(names: list[str], known: tuple[str, ...]) -> None:
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        raise ValueError(f"it has the column {twice[0]!r} twice; keep one")


def _text_of(file: Path) -> str:
    if file.suffix.lower() not in _TEXT_SUFFIXES:
        raise ValueError(f"the suffix {file.suffix!r} is neither .csv, .tsv, .txt nor .parquet")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it has more than {MAX_JSON_BYTES:,} bytes")
    return _decoded(read_bytes(file))


def _heading(text: str) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names of the columns of a text table, and an iterator over its rows."""
    heading = text.partition("\n")[0]
    # The separator that divides the heading into the most names.
    separator = max(_SEPARATORS, key=heading.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    names = [_plain_name(name) for name in next(rows, [])]
    if not any(names):
        raise ValueError("it has no heading")
    return names, rows


def _text_table(file: Path, known: tuple[str, ...]) -> Columns:
    names, rows = _heading(_text_of(file))
    _check_names(names, known)
    columns: Columns = {name: [] for name in names if name in known}
    for cells in _complete_rows(rows, len(names)):
        for name, cell in zip(names, cells, strict=True):
            if name in columns:
                columns[name].append(cell.strip())
    return columns


def _decoded(contents: bytes) -> str:
    encoding = next((name for start, name in _ENCODINGS.items() if contents.startswith(start)), "utf-8")
    try:
        text = contents.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not encoded as {encoding.upper()}: {error.reason}; save it as UTF-8") from error
    if "\0" in text:
        raise ValueError(
            "it has bytes of zero, as UTF-16 without its first mark or a binary file has; save it as UTF-8"
        )
    return text


def _complete_rows(rows: Iterator[list[str]], fields: int) -> Iterator[list[str]]:
    """Yield the rows that are not empty; raises ValueError for one with another number of cells than the heading."""
    number = 0
    for cells in rows:
        if not cells or cells == [""]:
            continue
        number += 1
        if number > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS:,} rows")
        # Separators at the end of a row are no cells.
        while len(cells) > fields and not cells[-1].strip():
            cells.pop()
        if len(cells) != fields:
            raise ValueError(f"row {number} has {len(cells)} cells, but the heading has {fields}")
        yield cells


def _parquet(file: Path, known: tuple[str, ...], limit: int) -> Columns:
    """Read the known columns of a Parquet file.

    Texts stay dictionary-encoded: a small file may repeat one long text millions of times.
    """
    # Nested columns are rejected by the schema alone, before any column is read.
    schema = parquet.read_schema(regular_file(file))
    _check_names([_plain_name(name) for name in schema.names], known)
    wanted = [name for name in schema.names if _plain_name(name) in known]
    nested = [name for name in wanted if pa.types.is_nested(schema.field(name).type)]
    if nested:
        raise ValueError(f"the column {nested[0]!r} holds lists or structures")
    with parquet.ParquetFile(regular_file(file), read_dictionary=wanted) as opened:
        # What the file states about its size, before anything is decompressed.
        metadata = opened.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if metadata.num_rows > MAX_ROWS or size > limit:
            raise ValueError(f"it states {metadata.num_rows:,} rows in {size:,} bytes, more than any list of photos")
        table = opened.read(wanted)
    # Arrow does not check the indices into a dictionary when it reads them; an index beyond its end would read other memory.
    table.validate(full=True)
    return {_plain_name(name): [_text(name, cell) for cell in _cells(table[name])] for name in wanted}


def _cells(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        # After unification all chunks share the dictionary of the first one. A column without rows has no chunk.
        column = column.unify_dictionaries()
        texts = column.chunk(0).dictionary.to_pylist() if len(column) else []
        longest = max((len(str(text)) for text in texts), default=0)
        if longest > MAX_LETTERS:
            raise ValueError(f"it has a cell of {longest:,} letters; use paths and labels of at most {MAX_LETTERS:,}")
    return column.to_pylist()


def _text(name: str, cell: Any) -> str:
    """Return a cell as text; null and NaN, which programs write for a missing value, as an empty one."""
    # NaN is the only value that differs from itself.
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"the column {name!r} holds bytes that are not UTF-8") from error
    return str(cell).strip()
