"""The log of changes in a SQLite collection: one row a transaction, from which other processes follow."""

import sqlite3
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

# Rows of the log; a reader that is further behind loads all vectors again.
LONGEST = 4096


class ChangeKind(IntEnum):
    """What a transaction has changed: no vector of the active model, some of them, or the active model itself."""

    OTHER = 0
    VECTORS = 1
    MODEL = 2


def log_change(db: sqlite3.Connection, kind: ChangeKind, ids: Sequence[int] | np.ndarray = ()) -> None:
    """Write a change into the log, as a part of the transaction that makes it."""
    listed = np.asarray(ids, "<i8").tobytes() if kind == ChangeKind.VECTORS else b""
    cursor = db.execute("INSERT INTO changes (kind, ids) VALUES (?, ?)", (int(kind), listed))
    number = cursor.lastrowid or 0
    # Twice the length is kept, so that only one transaction in many deletes.
    if number % LONGEST == 0:
        shorten_log(db, LONGEST)


def shorten_log(db: sqlite3.Connection, rows: int) -> None:
    """Delete all but the last rows of the log; the last one is always kept, because it counts the changes."""
    db.execute("DELETE FROM changes WHERE number <= (SELECT max(number) FROM changes) - ?", (max(1, rows),))


def last_change(db: sqlite3.Connection) -> int:
    """Return the number of the last change, 0 if there is none."""
    return db.execute("SELECT coalesce(max(number), 0) FROM changes").fetchone()[0]


def changed_since(db: sqlite3.Connection, number: int) -> np.ndarray | None:
    """Return the ids whose vector of the active model may have changed after a change, rising.

    Returns:
        None if the log does not reach back so far, or another model is active now: then everything may have changed.
    """
    rows = db.execute("SELECT number, kind, ids FROM changes WHERE number > ? ORDER BY number", (number,)).fetchall()
    if not rows:
        return np.empty(0, np.int64) if last_change(db) == number else None
    if rows[0][0] != number + 1 or any(kind == ChangeKind.MODEL for _, kind, _ in rows):
        return None
    if any(len(listed) % 8 for _, _, listed in rows):
        return None
    return np.unique(np.frombuffer(b"".join(listed for _, _, listed in rows), "<i8").astype(np.int64))
