"""Items and vectors in the binary form in which PostgreSQL sends and receives them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.item import MAX_WHOLE, Item, NewItem, Region, Value

if TYPE_CHECKING:
    from psycopg import Cursor

ITEM_COLUMNS = (
    "i.id, i.root, i.path, i.digest, i.region_x, i.region_y, i.region_width, i.region_height, i.label, "
    "i.metadata::text, i.keys, i.width, i.height, i.look, i.added, EXISTS (SELECT FROM originals o WHERE o.item = i.id)"
)
# The columns that `stored_values` returns, with the types of the binary COPY.
STORED_COLUMNS = {
    "place": "bytea",
    "root": "text",
    "path": "text",
    "region_x": "int4",
    "region_y": "int4",
    "region_width": "int4",
    "region_height": "int4",
    "digest": "bytea",
    "label": "text",
    "metadata": "jsonb",
    "keys": "text",
    "width": "int4",
    "height": "int4",
    "look": "int8",
}
_DIGEST = re.compile("[0-9a-f]{64}")
_SIGNED, _ALL_BITS = 1 << 63, (1 << 64) - 1


def place_of(root: str, path: str) -> bytes:
    """Return 16 bytes that stand for a root and a path in the index; `check_store` computes them in SQL."""
    return hashlib.sha256(f"{root}\0{path}".encode()).digest()[:16]


def digest_bytes(digest: str) -> bytes:
    """Return the bytes of a SHA-256; raises ValueError if it has other than 64 hexadecimal digits."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest[:80]!r} is no SHA-256 of 64 hexadecimal digits")
    return bytes.fromhex(digest)


def stored_values(item: NewItem) -> tuple[Any, ...]:
    """Return the values of an item for the columns `STORED_COLUMNS`; raises ValueError for a digest that is none."""
    from psycopg.types.json import Jsonb

    region = item.region
    x, y, width, height = (region.x, region.y, region.width, region.height) if region else (0, 0, 0, 0)
    # 64 bits without a sign, in a column whose numbers have one.
    look = (item.look & _ALL_BITS) - (2 * _SIGNED if item.look & _SIGNED else 0)
    place = place_of(item.root, item.path)
    texts = (item.label, Jsonb(dict(item.metadata)), joined_keys(item.metadata))
    return (
        place,
        item.root,
        item.path,
        x,
        y,
        width,
        height,
        digest_bytes(item.digest),
        *texts,
        item.width,
        item.height,
        look,
    )


def read_item(row: Sequence[Any]) -> Item:
    """Return the item of a row of `ITEM_COLUMNS`."""
    number, root, path, digest, x, y, region_width, region_height, label, *rest = row
    metadata, keys, width, height, look, added, kept = rest
    return Item(
        id=number,
        root=root,
        path=path,
        digest=bytes(digest).hex(),
        region=Region(x, y, region_width, region_height) if region_width else None,
        label=label,
        metadata=_read_metadata(metadata, keys),
        width=width,
        height=height,
        look=look & _ALL_BITS,
        added=added,
        has_original=kept,
    )


def joined_keys(metadata: Mapping[str, Value]) -> str:
    """Return the keys of metadata as one text, because PostgreSQL does not store in which order they come."""
    return "\n".join(metadata)


def _read_metadata(text: str, keys: str) -> dict[str, Value]:
    # PostgreSQL writes 1e300 as a whole number of 301 digits.
    values = json.loads(text, parse_int=_whole_or_float)
    return {key: values[key] for key in (*keys.split("\n"), *values) if key in values}


def _whole_or_float(text: str) -> int | float:
    return int(text) if abs(float(text)) <= MAX_WHOLE else float(text)


def _vector_type(dim: int) -> np.dtype:
    """Return the binary form of a vector of pgvector: its dimension, two empty bytes, big-endian float32."""
    return np.dtype([("dim", ">i2"), ("unused", ">i2"), ("values", ">f4", (dim,))])


@dataclass(frozen=True)
class Packed:
    """A vector in its binary form, as a parameter of a statement; `PostgresSessions` tells psycopg how to send it."""

    contents: bytes


def pack_vectors(rows: np.ndarray) -> list[Packed]:
    """Return float32 (item, dim) vectors as parameters of statements."""
    packed = np.zeros(len(rows), _vector_type(rows.shape[1]))
    packed["dim"], packed["values"] = rows.shape[1], rows
    return [Packed(row.tobytes()) for row in packed]


def unpack_vectors(contents: Iterable[bytes], dim: int) -> np.ndarray:
    """Return float32 (item, dim) vectors from what the server has sent."""
    return np.frombuffer(b"".join(contents), _vector_type(dim))["values"].astype(np.float32)


def copy_vectors(cursor: "Cursor[Any]", table: Any, ids: np.ndarray, rows: np.ndarray) -> None:
    """Append ids and their vectors to a table (item, vector) by COPY in its binary form, which is the fastest way."""
    from psycopg import sql

    fields = [
        ("fields", ">i2"),
        ("id_size", ">i4"),
        ("id", ">i8"),
        ("size", ">i4"),
        ("vector", _vector_type(rows.shape[1])),
    ]
    packed = np.zeros(len(rows), np.dtype(fields))
    packed["fields"], packed["id_size"], packed["id"] = 2, 8, ids
    packed["size"] = packed.dtype["vector"].itemsize
    packed["vector"]["dim"], packed["vector"]["values"] = rows.shape[1], rows
    with cursor.copy(sql.SQL("COPY {} (item, vector) FROM STDIN (FORMAT BINARY)").format(table)) as copy:
        # The header: signature, flags, and the length of an extension, both 0; the end is a row of -1 fields.
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        copy.write(packed.tobytes())
        copy.write(b"\xff\xff")


def whole_numbers(contents: bytes | None) -> np.ndarray:
    """Return int64 numbers that a statement has joined as `string_agg(int8send(...))`."""
    return np.frombuffer(contents or b"", ">i8").astype(np.int64)
