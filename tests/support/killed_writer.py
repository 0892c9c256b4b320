"""Adds, replaces and removes items of a SQLite collection until it is killed, and reports what has been acknowledged."""

from multiprocessing.connection import Connection
from pathlib import Path

from pairlens.collection.sqlite_store import SqliteStore
from support.stores import MODEL, photo, unit_vectors

BATCH = 20


def write_until_killed(file: Path, first: int, pipe: Connection) -> None:
    store = SqliteStore.open(file)
    for number in range(first, first + 10**6, BATCH):
        vectors = unit_vectors(BATCH, seed=number)
        ids = store.add([photo(number + row) for row in range(BATCH)], vectors, MODEL)
        pipe.send(("added", number, ids))
        store.replace(ids[:2], [photo(number), photo(number + 1)], -vectors[:2], MODEL)
        pipe.send(("replaced", number, ids[:2]))
        store.remove(ids[2:4])
        pipe.send(("removed", number, ids[2:4]))
        store.compact()
