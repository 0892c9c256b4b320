"""The index of the metadata in SQLite: a row (key, value, item) for every value, written in the transaction of its item.

Indexes on expressions would need one for every key, and the keys are not known before. Triggers are not used, because a
third-party file may contain no function that SQLite runs by itself.
"""

import sqlite3
from collections.abc import Sequence

import numpy as np

from pairlens.collection.vector_blocks import as_json_list

# A value as the index holds it. Truth values are bytes, numbers and texts are themselves, so that each kind is found only by
# its own: SQLite orders numbers before texts, and texts before bytes. A null has no row, because for a filter it is the same
# as a missing value.
INDEXED_VALUE = "CASE type WHEN 'true' THEN x'01' WHEN 'false' THEN x'00' ELSE atom END"
# All rows, as the items themselves say. What is no JSON, which another program may have written, has no values.
ALL_VALUES = (
    f"SELECT key, {INDEXED_VALUE} AS value, items.id AS item "
    "FROM items, json_each(iif(json_valid(items.metadata), items.metadata, '[]')) "
    "WHERE type IN ('integer', 'real', 'text', 'true', 'false')"
)
_OF_ITEMS = f"{ALL_VALUES} AND items.id IN (SELECT value FROM json_each(?))"


def index_metadata(db: sqlite3.Connection, ids: Sequence[int] | np.ndarray) -> None:
    """Write the rows of items that have none."""
    # JSON from a third party may have a key twice.
    db.execute(f"INSERT OR IGNORE INTO metadata_values {_OF_ITEMS}", (as_json_list(ids),))


def forget_metadata(db: sqlite3.Connection, ids: Sequence[int] | np.ndarray) -> None:
    """Delete the rows of items, before their metadata change; the rows are found by the values that the items still have."""
    db.execute(f"DELETE FROM metadata_values WHERE (key, value, item) IN ({_OF_ITEMS})", (as_json_list(ids),))


def rebuild_metadata_index(db: sqlite3.Connection) -> None:
    """Write all rows again."""
    db.execute("DELETE FROM metadata_values")
    db.execute(f"INSERT OR IGNORE INTO metadata_values {ALL_VALUES}")


def is_metadata_indexed(db: sqlite3.Connection) -> bool:
    """Return whether the index holds the values of the items and nothing else."""
    tables = ("metadata_values", f"({ALL_VALUES})")
    differ = "SELECT 1 FROM (SELECT key, value, item FROM {} EXCEPT SELECT key, value, item FROM {}) LIMIT 1"
    return all(db.execute(differ.format(*pair)).fetchone() is None for pair in (tables, tables[::-1]))
