"""Validation of MAT files before scipy reads them.

scipy calls itself for each level of nesting, and deep nesting ends the process; a compressed variable of a few kilobytes
may expand to gigabytes. Both are rejected here. The layout is that of "MAT-File Format", MathWorks. Like scipy, the check
goes from element to element and does not trust the length that a variable states for itself.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from pairlens.core.untrusted import MAX_JSON_BYTES, read_bytes

MAX_DEPTH = 16
MAX_ITEMS = 1 << 24

_HEADER_BYTES = 128
# Types of data elements.
_MATRIX = 14
_COMPRESSED = 15
# Classes of arrays; 4 to 15 are characters, sparse arrays and numbers, 16 and above are functions and objects.
_CELL = 1
_STRUCT = 2
_CHAR = 4
_SPARSE = 5
_LAST_NUMBER = 15
_COMPLEX = 0x800
# Numbers of 8 to 64 bits and texts. For any other type scipy reads beyond the end of its table and ends the process.
_VALUE_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})


def check_mat_file(file: Path) -> None:
    """Check that a MAT file is safe to read.

    Raises:
        ValueError: if it is not of version 5, would expand to more than 256 MiB, or is nested more than 16 levels deep.
    """
    contents = read_bytes(file)
    # The last two bytes of the header are "MI" in the byte order of the machine that wrote the file. A zero among the
    # first four bytes marks version 4.
    byte_order = contents[126:128]
    if len(contents) < _HEADER_BYTES or byte_order not in (b"IM", b"MI") or 0 in contents[:4]:
        raise ValueError("it is not a MAT file of version 5")
    order = "<" if byte_order == b"IM" else ">"
    try:
        for variable in _variables(contents, order):
            _VariableCheck(variable, order).run()
    except (struct.error, zlib.error) as error:
        raise ValueError(f"it is cut short or damaged ({error})") from error


def _variables(contents: bytes, order: str) -> Iterator[bytes]:
    """Yield each variable of a file, decompressed."""
    position = _HEADER_BYTES
    bytes_left = MAX_JSON_BYTES
    while position < len(contents):
        kind, length = struct.unpack_from(order + "II", contents, position)
        variable = contents[position : position + 8 + length]
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            variable = unpacker.decompress(variable[8:], bytes_left)
            bytes_left -= len(variable)
            if unpacker.unconsumed_tail or bytes_left <= 0:
                raise ValueError(f"it unpacks to more than {MAX_JSON_BYTES:,} bytes")
        yield variable
        position += 8 + length


class _VariableCheck:
    """A pass over one variable, element by element, that counts the depth of its nesting."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.position = 0

    def run(self) -> None:
        """Raise ValueError if the variable is nested deeply or states more items than it can hold."""
        # For each level of nesting, how many arrays are still to come. A list and not recursion: the depth is the
        # danger that is checked.
        arrays_left = [1]
        while arrays_left:
            if arrays_left[-1] == 0:
                arrays_left.pop()
                continue
            arrays_left[-1] -= 1
            if len(arrays_left) > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
            arrays_left.append(self._array())

    def _array(self) -> int:
        """Move past the header of the next array and past its values, if they are no arrays; return how many are."""
        kind, length = struct.unpack_from(self.order + "II", self.data, self.position)
        self.position += 8
        if kind != _MATRIX:
            raise ValueError(f"it has an element of type {kind} where an array should be")
        if length == 0:
            return 0
        flag_bytes = self._element()
        if len(flag_bytes) != 8:
            raise ValueError("an array in it does not state its class")
        flags = struct.unpack_from(self.order + "I", flag_bytes)[0]
        side_bytes = self._element()
        count = len(side_bytes) // 4
        items = math.prod(struct.unpack(f"{self.order}{count}i", side_bytes[: count * 4]))
        if not 0 <= items <= MAX_ITEMS:
            raise ValueError(f"an array in it states {items:,} items")
        # The name of the variable, which is empty inside a cell or structure.
        self._element()
        return self._nested_arrays(flags & 0xFF, items, bool(flags & _COMPLEX))

    def _nested_arrays(self, array_class: int, items: int, is_complex: bool) -> int:
        if array_class in (_CELL, _STRUCT):
            # A structure array holds one array per item and field.
            fields = self._fields() if array_class == _STRUCT else 1
            # An array takes at least eight bytes.
            if items * fields * 8 > len(self.data) - self.position:
                raise ValueError("an array in it states more items than the file can hold")
            return items * fields
        if not _CHAR <= array_class <= _LAST_NUMBER:
            raise ValueError("it holds objects or functions, which no list of photos does")
        # A sparse array has rows, columns and values; a complex one has an imaginary part.
        for _ in range((3 if array_class == _SPARSE else 1) + is_complex):
            self._element()
        return 0

    def _fields(self) -> int:
        """Return the number of fields of a structure: all names in one element, each with the same width."""
        width = struct.unpack_from(self.order + "i", self._element())[0]
        if width <= 0:
            raise ValueError("a structure in it has fields without names")
        return len(self._element()) // width

    def _element(self) -> bytes:
        """Move past the next element and return its value."""
        kind, length = struct.unpack_from(self.order + "II", self.data, self.position)
        start = self.position + 8
        # A value of up to four bytes is stored within the eight bytes of the tag; its length is in the upper half of
        # the type.
        small = kind >> 16 != 0
        if small:
            length = kind >> 16
            start = self.position + 4
        if kind & 0xFFFF not in _VALUE_TYPES:
            raise ValueError(f"it has an element of type {kind & 0xFFFF}, which is neither a number nor a text")
        if start + length > len(self.data):
            raise ValueError("an element in it states a length beyond the end of the file")
        # Elements start at multiples of eight bytes.
        self.position = self.position + 8 if small else start + -(-length // 8) * 8
        return self.data[start : start + length]
