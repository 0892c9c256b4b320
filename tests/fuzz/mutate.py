"""Mutations of valid files: flipped bits, parts removed, repeated and spliced, false numbers and lengths."""

import struct

from hypothesis import strategies as st

FALSE_NUMBERS = (
    0,
    1,
    127,
    128,
    255,
    256,
    65535,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
WORDS = (
    *(str(number).encode() for number in FALSE_NUMBERS),
    *(b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b'"type"', b"[" * 50, b'{"a":' * 50),
    *(
        b"../../etc/passwd",
        b"/etc/passwd",
        b"C:\\x",
        b"\x00",
        b"\x1b[31m",
        b"\xff\xfe",
        "\ud7ff".encode(),
        b"\n",
        b"\x1e",
    ),
    *(b"9" * 5000, b"0x" + b"f" * 5000, b"module:callable", b"os:system", b"__import__('os')"),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a valid file and apply up to eight changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 8))):
        position = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.integers(0, 6)):
            case 0 if data:
                data[position] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del data[position:]
            case 2:
                del data[position : position + draw(st.integers(1, 32))]
            case 3:
                length = draw(st.integers(1, 64))
                data[position:position] = data[position : position + length]
            case 4:
                other = draw(st.sampled_from(seeds))
                start = draw(st.integers(0, max(len(other) - 1, 0)))
                data[position:] = other[start:]
            case 5:
                kind = draw(st.sampled_from(("B", "<H", ">H", "<I", ">I", "<Q", ">Q")))
                size = struct.calcsize(kind)
                # Only the lower bytes of a number that does not fit.
                number = draw(st.sampled_from(FALSE_NUMBERS)) & ((1 << 8 * size) - 1)
                data[position : position + size] = struct.pack(kind, number)
            case _:
                data[position : position + draw(st.integers(0, 8))] = draw(st.sampled_from(WORDS))
    return bytes(data)
