"""Counts over the items of a SQLite collection, and its documents."""

import sqlite3

import numpy as np


def root_counts(db: sqlite3.Connection) -> dict[str, int]:
    """Return the roots with their numbers of items, sorted."""
    rows = db.execute(
        "SELECT roots.root, count(*) FROM items JOIN roots ON roots.number = items.root GROUP BY items.root ORDER BY 1"
    )
    return dict(rows.fetchall())


def label_counts(db: sqlite3.Connection) -> dict[str | None, int]:
    """Return the labels with their numbers of items, most frequent first, then sorted with the missing label last."""
    rows = db.execute(
        "SELECT CAST(label AS TEXT), count(*) FROM items GROUP BY label ORDER BY 2 DESC, label IS NULL, label"
    )
    return dict(rows.fetchall())


def metadata_key_counts(db: sqlite3.Connection) -> dict[str, int]:
    """Return the keys of the metadata with their numbers of items, most frequent first, then sorted."""
    rows = db.execute(
        "SELECT each.key, count(*) FROM items, json_each(items.metadata) AS each GROUP BY each.key ORDER BY 2 DESC, 1"
    )
    return dict(rows.fetchall())


def labels_by_id(db: sqlite3.Connection) -> tuple[np.ndarray, list[str | None]]:
    """Return (item, 2) int64 rows of an id and the position of its label in a list, by rising id; and the list."""
    position: dict[str | None, int] = {}
    rows = [
        (id, position.setdefault(label, len(position)))
        for id, label in db.execute("SELECT id, label FROM items ORDER BY id")
    ]
    return np.array(rows, np.int64).reshape(-1, 2), list(position)


def write_document(db: sqlite3.Connection, name: str, contents: bytes) -> None:
    """Store a document in place of an earlier one."""
    db.execute(
        "INSERT INTO documents (name, contents) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET contents = excluded.contents",
        (name, contents),
    )


def read_document(db: sqlite3.Connection, name: str) -> bytes | None:
    """Return a document, None if there is none."""
    row = db.execute("SELECT CAST(contents AS BLOB) FROM documents WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def document_names(db: sqlite3.Connection) -> list[str]:
    """Return the names of all documents, sorted."""
    return [name for (name,) in db.execute("SELECT name FROM documents ORDER BY name")]
