"""The models of a PostgreSQL collection and their vectors: which one is active, and the change from one to another."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.postgres_items import as_ids
from pairlens.collection.postgres_rows import copy_vectors, unpack_vectors, whole_numbers
from pairlens.collection.postgres_schema import MAX_DIM, make_vector_table, one_value, vector_table
from pairlens.collection.store import ModelState

if TYPE_CHECKING:
    from psycopg import Cursor


@dataclass(frozen=True)
class ModelTable:
    """A model with the number of its table of vectors."""

    number: int
    fingerprint: str
    dim: int
    state: ModelState
    since: float


def lock_models(cursor: "Cursor[Any]", alone: bool) -> None:
    """Keep the models as they are until the transaction ends; alone, also keep all others from adding items.

    A lock of the table and not of a row: whoever waited for a row sees the new version of that row, but not that another
    row has become the active one.
    """
    text: Any = f"LOCK TABLE models IN {'EXCLUSIVE' if alone else 'ROW SHARE'} MODE"
    cursor.execute(text)


def model_tables(cursor: "Cursor[Any]") -> list[ModelTable]:
    """Return the models, the active one first, then by time."""
    order = "ORDER BY state <> 'active', since, number"
    rows = cursor.execute(f"SELECT number, fingerprint, dim, state, since FROM models {order}").fetchall()
    return [ModelTable(*row) for row in rows]


def model_table(cursor: "Cursor[Any]", fingerprint: str | None) -> ModelTable:
    """Return a model by its fingerprint, or the active one; raises ValueError if there is none."""
    for model in model_tables(cursor):
        if model.fingerprint == fingerprint or (fingerprint is None and model.state == "active"):
            return model
    named = "an active model" if fingerprint is None else f"vectors of the model {fingerprint}"
    raise ValueError(f"the collection does not have {named}; start the model first")


def table_for_adding(cursor: "Cursor[Any]", fingerprint: str) -> ModelTable:
    """Return the active model, which stays active until the end; raises ValueError if it is not the one that is named."""
    lock_models(cursor, alone=False)
    active = model_table(cursor, None)
    if active.fingerprint != fingerprint:
        raise ValueError(
            f"the active model of the collection is {active.fingerprint}, not {fingerprint}; vectors of two models are "
            "never mixed, so embed with the active one, or migrate the collection"
        )
    return active


def declare_model(cursor: "Cursor[Any]", fingerprint: str, dim: int) -> bool:
    """Make a place for the vectors of a model, see `Store.start_model`; returns whether there was none."""
    lock_models(cursor, alone=True)
    known = model_tables(cursor)
    for model in known:
        if model.fingerprint == fingerprint:
            if model.dim != dim:
                raise ValueError(f"the model {fingerprint} has vectors of {model.dim} dimensions here, not {dim}")
            return False
        if model.state == "new":
            raise ValueError(
                f"a change to the model {model.fingerprint} has begun; finish it or drop that model before another starts"
            )
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"vectors of {dim:,} dimensions cannot be stored on PostgreSQL; 1 to {MAX_DIM:,} can")
    values = [fingerprint, dim, "new" if known else "active", time.time()]
    insert = "INSERT INTO models (fingerprint, dim, state, since) VALUES (%s, %s, %s, %s) RETURNING number"
    make_vector_table(cursor, one_value(cursor.execute(insert, values)), dim)
    return True


def make_active(cursor: "Cursor[Any]", fingerprint: str) -> bool:
    """Make a model the active one, see `Store.activate_model`; returns whether it was not yet."""
    lock_models(cursor, alone=True)
    model = model_table(cursor, fingerprint)
    if model.state == "active":
        return False
    missing = count_missing(cursor, model)
    if missing:
        raise ValueError(
            f"{missing:,} items have no vector of the model {fingerprint}; embed them before it becomes active"
        )
    for other in model_tables(cursor):
        if other.state == "former" and other != model:
            delete_model(cursor, other)
    # In one statement, because no two models may have one state at its end.
    text = "UPDATE models SET state = CASE WHEN number = %s THEN 'active' ELSE 'former' END, since = %s"
    cursor.execute(f"{text} WHERE number = %s OR state = 'active'", [model.number, time.time(), model.number])
    return True


def delete_model(cursor: "Cursor[Any]", model: ModelTable) -> None:
    """Delete a model that is not active, with its vectors; raises ValueError if it is."""
    from psycopg import sql

    if model.state == "active":
        raise ValueError(f"the model {model.fingerprint} is active; make another one active before it is dropped")
    cursor.execute(sql.SQL("DROP TABLE {}").format(vector_table(model.number)))
    cursor.execute("DELETE FROM models WHERE number = %s", [model.number])


def store_measurement(cursor: "Cursor[Any]", number: int, measured: dict[str, Any]) -> None:
    """Store what `measure_index` has found, which is no change of the collection."""
    from psycopg.types.json import Jsonb

    cursor.execute("UPDATE models SET measured = %s WHERE number = %s", [Jsonb(measured), number])


_WITHOUT = "FROM items i WHERE NOT EXISTS (SELECT FROM {} v WHERE v.item = i.id)"


def count_missing(cursor: "Cursor[Any]", model: ModelTable) -> int:
    """Return the number of items without a vector of a model."""
    from psycopg import sql

    return one_value(cursor.execute(sql.SQL(f"SELECT count(*) {_WITHOUT}").format(vector_table(model.number))))


def missing_ids(cursor: "Cursor[Any]", model: ModelTable, limit: int) -> np.ndarray:
    """Return at most `limit` ids of items without a vector of a model, rising."""
    from psycopg import sql

    text = f"SELECT i.id {_WITHOUT} ORDER BY i.id LIMIT %s"
    rows = cursor.execute(sql.SQL(text).format(vector_table(model.number)), [limit]).fetchall()
    return np.array(rows, np.int64).reshape(-1)


def insert_missing(cursor: "Cursor[Any]", model: ModelTable, ids: np.ndarray, rows: np.ndarray) -> int:
    """Store vectors of those items that exist and have none of this model yet; returns how many these were."""
    from psycopg import sql

    if model.state == "active":
        raise ValueError(f"the model {model.fingerprint} is active; its vectors come with the items")
    unique, first = np.unique(ids, return_index=True)
    # A table of this transaction alone, because COPY itself cannot leave rows out.
    cursor.execute("CREATE TEMPORARY TABLE incoming (item BIGINT, vector vector) ON COMMIT DROP")
    copy_vectors(cursor, sql.Identifier("incoming"), unique, rows[first])
    text = "INSERT INTO {} SELECT n.item, n.vector FROM incoming n JOIN items i ON i.id = n.item ON CONFLICT DO NOTHING"
    return cursor.execute(sql.SQL(text).format(vector_table(model.number))).rowcount


def delete_vectors(cursor: "Cursor[Any]", ids: Sequence[int] | np.ndarray) -> None:
    """Delete the vectors of items, of all models."""
    from psycopg import sql

    for model in model_tables(cursor):
        text = sql.SQL("DELETE FROM {} WHERE item = ANY(%s::bigint[])").format(vector_table(model.number))
        cursor.execute(text, [as_ids(ids)])


def vectors_of(cursor: "Cursor[Any]", model: ModelTable, ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return float32 (item, dim) vectors in the order of the ids; raises ValueError naming an id that has none."""
    from psycopg import sql

    wanted = as_ids(ids)
    text = sql.SQL("SELECT item, vector FROM {} WHERE item = ANY(%s::bigint[])").format(vector_table(model.number))
    found = dict(cursor.execute(text, [wanted]).fetchall())
    missing = [number for number in wanted if number not in found]
    if missing:
        raise ValueError(
            f"item {missing[0]} has no vector of the model {model.fingerprint}; look whether it was removed"
        )
    return unpack_vectors((found[number] for number in wanted), model.dim)


def vector_block(cursor: "Cursor[Any]", model: ModelTable, after: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the next (ids, vectors) of a model by rising id, both empty at the end."""
    from psycopg import sql

    text = (
        "SELECT string_agg(int8send(item), ''::bytea ORDER BY item), "
        "string_agg(vector_send(vector), ''::bytea ORDER BY item) "
        "FROM (SELECT item, vector FROM {} WHERE item > %s ORDER BY item LIMIT %s) AS block"
    )
    row = cursor.execute(sql.SQL(text).format(vector_table(model.number)), [after, limit]).fetchone()
    ids, contents = row or (None, None)
    return whole_numbers(ids), unpack_vectors([contents or b""], model.dim)
