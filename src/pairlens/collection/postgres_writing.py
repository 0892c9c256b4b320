"""Changes of a PostgreSQL collection that concern items and vectors together, each within one transaction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.item import NewItem
from pairlens.collection.postgres_items import as_ids, count_change, insert_rows, overwrite_rows
from pairlens.collection.postgres_models import (
    delete_model,
    delete_vectors,
    insert_missing,
    lock_models,
    model_table,
    table_for_adding,
)
from pairlens.collection.postgres_rows import copy_vectors
from pairlens.collection.postgres_schema import vector_table
from pairlens.collection.unit_vectors import unit_rows

if TYPE_CHECKING:
    from psycopg import Cursor


def add_items(cursor: "Cursor[Any]", items: Sequence[NewItem], vectors: np.ndarray, model: str) -> list[int]:
    """Add items with their vectors, see `Store.add`."""
    active = table_for_adding(cursor, model)
    checked = unit_rows(vectors, len(items), active.dim)
    if not len(items):
        return []
    ids = insert_rows(cursor, items)
    copy_vectors(cursor, vector_table(active.number), np.array(ids), checked)
    count_change(cursor, len(ids))
    return ids


def replace_items(
    cursor: "Cursor[Any]", ids: Sequence[int], items: Sequence[NewItem], vectors: np.ndarray, model: str
) -> None:
    """Replace items with their vectors, see `Store.replace`."""
    wanted = as_ids(ids)
    if len(set(wanted)) != len(items) or len(wanted) != len(items):
        raise ValueError(f"{len(set(wanted))} different ids cannot get {len(items)} items; give one item for each id")
    active = table_for_adding(cursor, model)
    checked = unit_rows(vectors, len(items), active.dim)
    if not len(items):
        return
    overwrite_rows(cursor, wanted, items)
    delete_vectors(cursor, wanted)
    copy_vectors(cursor, vector_table(active.number), np.array(wanted), checked)
    count_change(cursor)


def remove_items(cursor: "Cursor[Any]", ids: Sequence[int] | np.ndarray) -> int:
    """Remove items, see `Store.remove`; the foreign keys take everything that belongs to them with them."""
    removed = cursor.execute("DELETE FROM items WHERE id = ANY(%s::bigint[])", [as_ids(ids)]).rowcount
    if removed:
        count_change(cursor, -removed)
    return removed


def add_missing(cursor: "Cursor[Any]", model: str, ids: Sequence[int], vectors: np.ndarray) -> int:
    """Store vectors of a model that is not active, see `Store.add_vectors`; returns how many were missing."""
    lock_models(cursor, alone=False)
    table = model_table(cursor, model)
    return insert_missing(cursor, table, np.array(as_ids(ids), np.int64), unit_rows(vectors, len(ids), table.dim))


def drop_named(cursor: "Cursor[Any]", model: str) -> bool:
    """Delete the vectors of a model, see `Store.drop_model`."""
    lock_models(cursor, alone=True)
    delete_model(cursor, model_table(cursor, model))
    return True
