"""Damaged collections: the bytes of an input are changes of a valid folder, after which every reader is called.

A database of 400 KB is too large an input: a mutation would rarely reach the few bytes that matter. So an input is a list of
changes of eight bytes each: flipped bits, cut and exchanged files, links, and false values in the tables.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fuzz.mutate import FALSE_NUMBERS, WORDS
from fuzz.target import folder
from pairlens.collection.collection_check import check_collection
from pairlens.collection.collection_info import plain_info
from pairlens.collection.filters import as_conditions, between, under
from pairlens.collection.inverted_file import FOLDER, NAME
from pairlens.collection.location import DATABASE, open_store
from pairlens.collection.search import QueryEmbedder, plain_item
from pairlens.collection.searcher import Searcher
from pairlens.collection.sqlite_store import SqliteStore
from pairlens.collection.store import Store
from support.stores import MODEL, fill, photo, unit_vectors

# What is done, the file or column, the place, and a number.
CHANGE = struct.Struct("<BBIH")
MOST_CHANGES = 16
ITEMS, IVF_ABOVE = 60, 20
FILES = (DATABASE, f"{FOLDER}/{NAME}", f"{DATABASE}-wal")
VALUES = (
    *(number - (1 << 64) if number >> 63 else number for number in FALSE_NUMBERS),
    *(
        -1,
        0.5,
        -0.0,
        1e308,
        float("inf"),
        None,
        b"",
        bytes(8),
        b"\xff" * 4096,
        "",
        "\ud7ff",
        '{"a": [1]}',
        '{"price": 1e999}',
    ),
    *(word.decode("utf-8", "replace") for word in WORDS),
)
# The columns of the tables; those of SQLite itself are not changed by a file, but by a program that has opened it.
COLUMNS = (
    ("facts", ("value",)),
    ("roots", ("number", "root")),
    ("items", ("id", "root", "path", "digest", "region_x", "region_width", "region_height", "label", "metadata")),
    ("items", ("width", "height", "look", "added")),
    ("thumbnails", ("item", "jpeg")),
    ("originals", ("item", "contents")),
    ("documents", ("name", "contents")),
    ("models", ("number", "fingerprint", "dim", "state", "since")),
    ("blocks", ("number", "model", "used", "ids")),
    ("block_vectors", ("number", "vectors")),
    ("slots", ("model", "item", "block", "slot")),
    ("changes", ("number", "kind", "ids")),
    ("metadata_values", ("key", "value", "item")),
)
PLACES = tuple((table, column) for table, columns in COLUMNS for column in columns)
WITHOUT_ROWID = ("facts", "slots", "metadata_values")


@cache
def _valid(process: int) -> Path:
    """Return a folder with a valid collection that has an approximate index, an original, documents and two models."""
    place = folder(process) / "valid"
    place.mkdir()
    store = SqliteStore.create(place / DATABASE, ivf_above=IVF_ABOVE)
    fill(store, ITEMS)
    store.add([photo(500, original=b"\1" * 99)], unit_vectors(1, seed=5), MODEL)
    store.start_model("model-b", 4)
    store.write_document("calibration.json", b"{}")
    store.write_document(f"models/{MODEL}/kind.json", b'{"version":1,"kind":"onnx","name":"n","trained_on":["a"]}')
    store.write_document(f"models/{MODEL}/model.onnx", b"no graph")
    store.search(unit_vectors(1), 3)
    store.close()
    return place


def seeds() -> list[bytes]:
    """Return one change of each kind, and several together."""
    single = [CHANGE.pack(kind, kind % 3, 40_000 + 99 * kind, kind) for kind in range(7)]
    columns = [CHANGE.pack(7, place, 3, 5 * place + 1) for place in range(len(PLACES))]
    # Many at once, because each input opens the collection twice.
    return [b"", *single, *(b"".join(columns[start::8]) for start in range(8))]


def run(data: bytes) -> None:
    """Change a copy of the valid collection, call every reader and writer, and see that nothing outside has changed."""
    place = folder(os.getpid()) / "damaged"
    outside = folder(os.getpid()) / "outside"
    outside.write_bytes(b"of somebody else")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(_valid(os.getpid()), place)
    for start in range(0, min(len(data), MOST_CHANGES * CHANGE.size) - CHANGE.size + 1, CHANGE.size):
        with contextlib.suppress(OSError):
            _change(place, outside, *CHANGE.unpack_from(data, start))
    _use(place)
    assert outside.read_bytes() == b"of somebody else"


def _change(place: Path, outside: Path, kind: int, which: int, position: int, number: int) -> None:
    if kind % 8 == 7:
        table, column = PLACES[which % len(PLACES)]
        _write_value(place / DATABASE, table, column, position, VALUES[number % len(VALUES)])
        return
    file = place / FILES[which % len(FILES)]
    other = place / FILES[number % len(FILES)]
    if file.is_symlink() or other.is_symlink():
        # Writing here would change what it leads to.
        return
    contents = bytearray(file.read_bytes()) if file.is_file() else bytearray(8)
    at = position % (len(contents) + 1)
    match kind % 8:
        case 0:
            contents[at : at + 1] = bytes([contents[at] ^ (1 << number % 8)]) if at < len(contents) else b"\0"
        case 1:
            del contents[at:]
        case 2:
            size = 1 << (number >> 8) % 4
            value = FALSE_NUMBERS[number % len(FALSE_NUMBERS)] & ((1 << 8 * size) - 1)
            contents[at : at + size] = value.to_bytes(size, "big" if number >> 15 else "little")
        case 3:
            contents[at:] = other.read_bytes()[at:]
        case 4:
            file.unlink(missing_ok=True)
            file.symlink_to(outside if number % 2 else other)
            return
        case 5:
            file.unlink(missing_ok=True)
            return
        case _:
            exchanged = other.read_bytes()
            other.write_bytes(contents)
            contents[:] = exchanged
    file.write_bytes(contents)


def _write_value(database: Path, table: str, column: str, position: int, value: object) -> None:
    if database.is_symlink() or not database.is_file():
        return
    row = (
        "" if table in WITHOUT_ROWID else f"WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {position % ITEMS})"
    )
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as db, db:
        db.execute(f"UPDATE OR REPLACE {table} SET {column} = ? {row}", (value,))


def _use(place: Path) -> None:
    """Open a collection, for reading only and for writing, and call everything; each may end with one sentence."""
    for read_only in (True, False):
        try:
            store = open_store(place, wait=0.05, read_only=read_only)
        except (ValueError, OSError) as error:
            _check_sentence(error)
            continue
        store._index._inverted_above = IVF_ABOVE
        try:
            for action in (*READING, *(() if read_only else WRITING)):
                try:
                    action(store)
                except (ValueError, OSError) as error:
                    _check_sentence(error)
        finally:
            store.close()


def _check_sentence(error: Exception) -> None:
    # Quoted values of the database may hold anything else.
    assert str(error), type(error)
    assert "Traceback" not in str(error)


QUERY = unit_vectors(2, seed=8)
# Everything that a command calls on a store that it has opened.
READING: tuple[Callable[[Store], object], ...] = (
    lambda store: json.dumps(plain_info(store)),
    check_collection,
    lambda store: json.dumps([plain_item(item) for item in store.items(store.ids())]),
    lambda store: store.page(0, 30, as_conditions({"label": "cat"})),
    lambda store: store.at("/photos", ["cat/1.jpg"]),
    lambda store: store.with_digests([f"{3:064x}"]),
    lambda store: store.label_array(),
    lambda store: store.thumbnails([1, 2]),
    lambda store: store.original(61),
    lambda store: store.search(QUERY, 5),
    lambda store: store.search(QUERY, 5, mode="exact", without=[1]),
    lambda store: store.search(QUERY, 5, as_conditions({"price": between(3, 10), "path": under("cat/")})),
    lambda store: store.search(QUERY, 5, as_conditions({"price": [3, None]})),
    lambda store: list(store.vector_blocks()),
    lambda store: Searcher(store, lambda: None).search(
        QueryEmbedder(store, lambda: None, 8).embed([1]), 5, {}, group=True
    ),
)
WRITING: tuple[Callable[[Store], object], ...] = (
    lambda store: store.add([photo(900)], QUERY[:1], MODEL),
    lambda store: store.replace([2], [photo(901)], QUERY[:1], MODEL),
    lambda store: store.set_metadata([3, 4], [{"price": 1}, {}]),
    lambda store: store.relabel([3], "x"),
    lambda store: store.move([5], "/photos", ["moved.jpg"]),
    lambda store: store.remove([1, 6]),
    lambda store: store.add_vectors("model-b", [7], unit_vectors(1, 4)),
    lambda store: store.activate_model("model-b"),
    lambda store: store.drop_model("model-b"),
    lambda store: store.compact(),
    lambda store: store.search(QUERY, 5),
    check_collection,
)
