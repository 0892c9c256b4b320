"""What a MAT file says about its own sizes, seen before scipy believes it.

scipy follows a nested variable by calling itself, and ends the process where the nesting is deep; and a compressed
variable of a few kilobytes may hold gigabytes. Both are refused here. The layout is that of "MAT-File Format", MathWorks;
like scipy, the walk goes from element to element and does not believe the length that a variable gives of itself.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pairlens.core.untrusted import MAX_JSON_BYTES

MOST_DEPTH = 16
MOST_ITEMS = 1 << 24

_HEAD = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _SPARSE, _LAST_NUMBER = 1, 2, 4, 5, 15
_COMPLEX = 0x800
# Numbers of 8 to 64 bits and texts; scipy looks up any other beyond the end of its table, and ends the process.
_ELEMENTS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})


def check_mat_file(file: Path) -> None:
    """Raise ValueError if a MAT file is not of version 5, would unpack to more than 256 MiB, or is nested deeply."""
    if file.stat().st_size > MAX_JSON_BYTES:
        raise ValueError("it is much larger than any annotation file")
    contents = file.read_bytes()
    if len(contents) < _HEAD or contents[126:128] not in (b"IM", b"MI") or 0 in contents[:4]:
        raise ValueError("it is not a MAT file of version 5")
    order = "<" if contents[126:128] == b"IM" else ">"
    try:
        for variable in _variables(contents, order):
            _Walk(variable, order).through()
    except (struct.error, zlib.error) as error:
        raise ValueError(f"it is cut short or damaged ({error})") from error


def _variables(contents: bytes, order: str) -> Iterator[bytes]:
    at, left = _HEAD, MAX_JSON_BYTES
    while at < len(contents):
        kind, length = struct.unpack_from(order + "II", contents, at)
        body = contents[at : at + 8 + length]
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(body[8:], left)
            left -= len(body)
            if unpacker.unconsumed_tail or left <= 0:
                raise ValueError(f"it unpacks to more than {MAX_JSON_BYTES:,} bytes")
        yield body
        at += 8 + length


class _Walk:
    """Goes through one variable element by element, counting how deep it is nested."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def through(self) -> None:
        """Raise ValueError if the variable is nested deeply or promises more items than it can hold."""
        waiting = [1]
        while waiting:
            if waiting[-1] == 0:
                waiting.pop()
                continue
            waiting[-1] -= 1
            if len(waiting) > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            waiting.append(self._matrix())

    def _matrix(self) -> int:
        """Go on to the first variable within the next one, or past it; returns how many are within."""
        kind, length = struct.unpack_from(self.order + "II", self.data, self.at)
        self.at += 8
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} stands where a variable should")
        if length == 0:
            return 0
        flags = self._element()
        if len(flags) != 8:
            raise ValueError("a variable in it does not say what it is")
        flags = struct.unpack_from(self.order + "I", flags)[0]
        sides = self._element()
        items = math.prod(struct.unpack(f"{self.order}{len(sides) // 4}i", sides[: len(sides) // 4 * 4]))
        if not 0 <= items <= MOST_ITEMS:
            raise ValueError(f"a variable in it says that it has {items:,} items")
        self._element()
        return self._within(flags & 0xFF, items, bool(flags & _COMPLEX))

    def _within(self, held: int, items: int, complex_: bool) -> int:
        if held in (_CELL, _STRUCT):
            fields = self._fields() if held == _STRUCT else 1
            if items * fields * 8 > len(self.data) - self.at:
                raise ValueError("a variable in it says that it has more items than the file")
            return items * fields
        if not _CHAR <= held <= _LAST_NUMBER:
            raise ValueError("it holds objects or functions, which no list of photos does")
        for _ in range((3 if held == _SPARSE else 1) + complex_):
            self._element()
        return 0

    def _fields(self) -> int:
        length = self._element()
        width = struct.unpack_from(self.order + "i", length)[0]
        if width <= 0:
            raise ValueError("a structure in it has fields without names")
        return len(self._element()) // width

    def _element(self) -> bytes:
        """Return the next element, which has its length in its first eight bytes, and with up to four bytes all of it."""
        kind, length = struct.unpack_from(self.order + "II", self.data, self.at)
        start = self.at + 8
        if kind >> 16:
            length, start = kind >> 16, self.at + 4
        if kind & 0xFFFF not in _ELEMENTS:
            raise ValueError(f"an element in it is of type {kind & 0xFFFF}, which is neither number nor text")
        if start + length > len(self.data):
            raise ValueError("an element in it says that it is longer than the file")
        self.at = self.at + 8 if kind >> 16 else start + -(-length // 8) * 8
        return self.data[start : start + length]
