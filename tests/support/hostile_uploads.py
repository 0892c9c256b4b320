"""Uploads that are meant to harm a server: picture files that lie, cost or pretend, and requests that are broken."""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image


@cache
def photo(format: str, size: tuple[int, int] = (320, 240), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    contents = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(contents, format, **options)
    return contents.getvalue()


def truncated(chance: random.Random) -> bytes:
    whole = photo(chance.choice(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")))
    return whole[: chance.randrange(1, len(whole))]


def damaged(chance: random.Random) -> bytes:
    whole = bytearray(photo(chance.choice(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "TGA", "PCX"))))
    for _ in range(chance.randrange(1, 60)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole)


def chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


@cache
def png_of_zeros(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_header(chance: random.Random) -> bytes:
    side = 60_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    jpeg = photo("JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    return chance.choice((
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""),
        jpeg[:frame] + struct.pack(">HH", side, side) + jpeg[frame + 4 :],
        b"GIF89a" + struct.pack("<HH", side, side) + photo("GIF")[10:],
        b"BM" + photo("BMP")[2:18] + struct.pack("<ii", side, side) + photo("BMP")[26:],
        f"P6 {side} {side} 255\n".encode() + bytes(1000),
    ))  # fmt: skip


def bomb(chance: random.Random) -> bytes:
    return chance.choice((
        lambda: png_of_zeros(6000),
        lambda: many_scans(400),
        lambda: f"P3 3000 3000 255\n{'1 ' * 2_000_000}".encode(),
        lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0))
        + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(30_000_000))) + chunk(b"IEND", b""),
    ))()  # fmt: skip


@cache
def many_scans(scans: int) -> bytes:
    jpeg = photo("JPEG", (2000, 1600), progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * scans + b"\xff\xd9"


def text(chance: random.Random) -> bytes:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    return chance.choice((
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/></svg>',
        b"<!doctype html><script>alert(1)</script>",
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "x">{entities}]><a>&a9;</a>'.encode(),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file",
        b"#!/bin/sh\nrm -rf /\n",
        b"",
        bytes(chance.randrange(1, 4096)),
        chance.randbytes(chance.randrange(1, 100_000)),
    ))  # fmt: skip


def polyglot(chance: random.Random) -> bytes:
    evil = chance.choice(
        (b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(100), b"%PDF-1.7\n", b"<svg onload=alert(1)>")
    )
    format = chance.choice(("JPEG", "PNG", "GIF"))
    return chance.choice((photo(format) + evil, evil + photo(format), photo(format)[:30] + evil + photo(format)[30:]))


FILES: tuple[Callable[[random.Random], bytes], ...] = (truncated, damaged, huge_header, bomb, text, polyglot)


def form(contents: bytes, field: str = "photo", name: str = "a.jpg") -> tuple[bytes, str]:
    head = f'--x\r\ncontent-disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return head + contents + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def broken_request(chance: random.Random) -> tuple[bytes, str]:
    """A body that is no form and no JSON that anything could be done with, and its media type."""
    many_fields = (
        b"".join(b'--x\r\ncontent-disposition: form-data; name="id"\r\n\r\n1\r\n' for _ in range(3000)) + b"--x--\r\n"
    )
    many_files = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\nx\r\n' for _ in range(300)
    )
    return chance.choice((
        (b"[" * 100_000, "application/json"),
        (b'{"id": ' + b"9" * 5000 + b"}", "application/json"),
        (json.dumps({"vector": [1e308] * 512}).encode(), "application/json"),
        (b'{"vector": [NaN, Infinity]}', "application/json"),
        (b'{"id": 1, "where": {"label": "\\ud800"}}', "application/json"),
        (b'{"id": 1, "where": {"a": ' + b"1" * 400 + b"}}", "application/json"),
        (b'{"photo": "../../../../etc/passwd"}', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (many_fields, "multipart/form-data; boundary=x"),
        (many_files + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"no boundary", "multipart/form-data"),
        form(photo("JPEG"), name='"; rm -rf / "\\..\\..\\<script>'),
        form(b"x" * 100, field="photo\x00"),
        (b"id=1", "application/x-www-form-urlencoded"),
    ))  # fmt: skip
