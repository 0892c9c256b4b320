"""Annotation files as lines of fields, with errors that name file, line and remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.untrusted import read_text

MOST_PIXELS = 1e9


@dataclass(frozen=True)
class Line:
    """One line of an annotation file, split at white space; `number` counts from 1."""

    file: Path
    number: int
    fields: tuple[str, ...]

    def fault(self, reason: str) -> ValueError:
        """Return the error that says what is wrong with this line and what to do."""
        return ValueError(f"{self.file}, line {self.number}: {reason}; restore the file from the data set's download")

    def integer(self, position: int) -> int:
        """Return a field as an integer, or raise its fault."""
        try:
            return int(self.fields[position])
        except ValueError as error:
            raise self.fault(f"{self.fields[position][:80]!r} should be a whole number") from error

    def pixels(self, position: int) -> float:
        """Return a field as a number, or raise its fault."""
        try:
            pixels = float(self.fields[position])
        except ValueError as error:
            raise self.fault(f"{self.fields[position][:80]!r} should be a number of pixels") from error
        if not abs(pixels) < MOST_PIXELS:
            raise self.fault(f"{pixels} should be a number of pixels")
        return pixels


def read_lines(file: Path, fields: int, skip: int = 0) -> Iterator[Line]:
    """Yield the lines after the first `skip`, each with exactly so many fields; the last field may hold spaces.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not text, or a line has too few fields.
    """
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if number <= skip or not line.strip():
            continue
        found = Line(file, number, tuple(line.strip().split(maxsplit=fields - 1)))
        if len(found.fields) != fields:
            raise found.fault(f"{len(found.fields)} fields where {fields} are expected")
        yield found


def _text(file: Path) -> str:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; unpack the data set's annotations there, or correct the raw folder"
        )
    try:
        return read_text(file, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file ({error.reason}); restore it from the download") from error
