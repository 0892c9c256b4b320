"""Annotation files of text lines, with errors that name the file, the line and the remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.untrusted import read_text

# No photo is larger; infinity, NaN and numbers that overflow later are rejected with it.
MAX_PIXELS = 1e9


@dataclass(frozen=True)
class Line:
    """One line of an annotation file, split at white space; `number` counts from 1."""

    file: Path
    number: int
    fields: tuple[str, ...]

    def fault(self, reason: str) -> ValueError:
        """Return an error that says what is wrong with this line and what to do."""
        return ValueError(f"{self.file}, line {self.number}: {reason}; restore the file from the data set's download")

    def integer(self, position: int) -> int:
        """Return a field as an integer; raises the fault of the line if it is not one."""
        try:
            return int(self.fields[position])
        except ValueError as error:
            raise self.fault(f"{self.fields[position][:80]!r} should be a whole number") from error

    def pixels(self, position: int) -> float:
        """Return a field as a number of pixels; raises the fault of the line if it is not one."""
        try:
            pixels = float(self.fields[position])
        except ValueError as error:
            raise self.fault(f"{self.fields[position][:80]!r} should be a number of pixels") from error
        # Written so that NaN, for which every comparison is false, is rejected too.
        if not abs(pixels) < MAX_PIXELS:
            raise self.fault(f"{pixels} should be a number of pixels")
        return pixels


def read_lines(file: Path, fields: int, skip: int = 0) -> Iterator[Line]:
    """Yield the lines after the first `skip`, each with exactly `fields` fields; the last field may contain spaces.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not a text file, or a line has too few fields.
    """
    for number, text in enumerate(_text(file).splitlines(), start=1):
        if number <= skip or not text.strip():
            continue
        line = Line(file, number, tuple(text.strip().split(maxsplit=fields - 1)))
        if len(line.fields) != fields:
            raise line.fault(f"{len(line.fields)} fields where {fields} are expected")
        yield line


def _text(file: Path) -> str:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; unpack the data set's annotations there, or correct the raw folder"
        )
    try:
        # "utf-8-sig" drops the byte order mark that editors on Windows write.
        return read_text(file, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file ({error.reason}); restore it from the download") from error
