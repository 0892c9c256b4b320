"""The proof of a SQLite collection against itself, and the repair of what is derived."""

import sqlite3
from collections.abc import Iterator

import numpy as np

from pairlens.collection.sqlite_database import SqliteDatabase
from pairlens.collection.sqlite_models import LENGTH_TOLERANCE, count_without_vector, model_rows
from pairlens.collection.store import Fault
from pairlens.collection.vector_blocks import ModelRow, iterate_blocks

# Faults of one kind that are listed one by one.
LISTED = 20


def check_database(database: SqliteDatabase) -> list[Fault]:
    """Return the faults of a collection, see `Store.check`."""
    with database.reading_apart() as db:
        faults = [Fault(f"the database is damaged: {what}") for what in _damages(db)]
        if faults:
            return faults
        for model in model_rows(db):
            faults += _faults_of_vectors(db, model)
    return faults


def _damages(db: sqlite3.Connection) -> Iterator[str]:
    for (what,) in db.execute(f"PRAGMA integrity_check({LISTED})"):
        if what != "ok":
            yield what


def _faults_of_vectors(db: sqlite3.Connection, model: ModelRow) -> Iterator[Fault]:
    missing = count_without_vector(db, model)
    if missing and model.state == "active":
        yield Fault(f"{missing:,} items have no vector of the active model {model.fingerprint}; add them again")
    for ids, vectors in iterate_blocks(db, model):
        lengths = np.linalg.norm(vectors, axis=1)
        for id in ids[~(np.abs(lengths - 1) <= LENGTH_TOLERANCE)][:LISTED].tolist():
            yield Fault(f"the vector of item {id} is not finite or not of length 1; add its photo again")
