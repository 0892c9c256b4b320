"""The models of a SQLite collection: which one is active, and the change from one to another."""

import sqlite3
import time
from typing import get_args

import numpy as np

from pairlens.collection.change_log import ChangeKind, log_change
from pairlens.collection.store import ModelState, StoredModel
from pairlens.collection.vector_blocks import MAX_DIM, ModelRow, append_vectors, as_json_list, drop_vectors

STATES = get_args(ModelState)
# The year 5138, which every calendar of Python can show.
_LATEST = 1e11


def is_time(value: object) -> bool:
    """Return whether a stored value is a time in seconds since 1970."""
    return isinstance(value, int | float) and 0 <= value <= _LATEST


def model_rows(db: sqlite3.Connection) -> list[ModelRow]:
    """Return the models, the active one first, then by time."""
    rows = db.execute(
        "SELECT number, fingerprint, dim, state, since FROM models ORDER BY state <> 'active', since, number"
    )
    found = [ModelRow(*row) for row in rows]
    # SQLite holds any kind of value in any column.
    if not all(
        isinstance(model.fingerprint, str) and model.state in STATES and is_time(model.since) for model in found
    ):
        raise ValueError("a model has a fingerprint, a state or a time of another kind; check the collection")
    if any(not isinstance(model.dim, int) or not 1 <= model.dim <= MAX_DIM for model in found):
        raise ValueError(f"a model has a dimension that is not between 1 and {MAX_DIM:,}; check the collection")
    return found


def stored_models(db: sqlite3.Connection) -> list[StoredModel]:
    """Return the models as the contract describes them."""
    return [StoredModel(model.fingerprint, model.dim, model.state, model.since) for model in model_rows(db)]


def active_model(db: sqlite3.Connection) -> ModelRow | None:
    """Return the active model, None in a new collection."""
    return next((model for model in model_rows(db) if model.state == "active"), None)


def named_model(db: sqlite3.Connection, fingerprint: str) -> ModelRow:
    """Return a model by its fingerprint; raises ValueError if it is not declared."""
    for model in model_rows(db):
        if model.fingerprint == fingerprint:
            return model
    raise ValueError(f"the collection has no vectors of the model {fingerprint}; start it first")


def chosen_model(db: sqlite3.Connection, fingerprint: str | None) -> ModelRow:
    """Return a model by its fingerprint, or the active one; raises ValueError if there is none."""
    if fingerprint is not None:
        return named_model(db, fingerprint)
    model = active_model(db)
    if model is None:
        raise ValueError("the collection has no model yet, and so no vectors")
    return model


def checked_active_model(db: sqlite3.Connection, fingerprint: str) -> ModelRow:
    """Return the active model; raises ValueError unless it is the one whose vectors are about to be written."""
    model = chosen_model(db, None)
    if model.fingerprint != fingerprint:
        raise ValueError(
            f"the vectors are of the model {fingerprint} and the collection of {model.fingerprint}; "
            "vectors of two models cannot be compared: embed with the model of the collection"
        )
    return model


def start_model(db: sqlite3.Connection, fingerprint: str, dim: int) -> None:
    """Declare a model, see `Store.start_model`."""
    known = model_rows(db)
    for model in known:
        if model.fingerprint == fingerprint:
            if model.dim != dim:
                raise ValueError(f"the model {fingerprint} has vectors of {model.dim} dimensions here, not {dim}")
            return
        if model.state == "new":
            raise ValueError(
                f"a change to the model {model.fingerprint} has begun; finish it or drop that model before another starts"
            )
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"vectors of {dim:,} dimensions cannot be stored; 1 to {MAX_DIM:,} can")
    state = "new" if known else "active"
    db.execute(
        "INSERT INTO models (fingerprint, dim, state, since) VALUES (?, ?, ?, ?)",
        (fingerprint, dim, state, time.time()),
    )
    log_change(db, ChangeKind.OTHER if known else ChangeKind.MODEL)


def activate_model(db: sqlite3.Connection, fingerprint: str) -> None:
    """Make a model the active one, see `Store.activate_model`."""
    model = named_model(db, fingerprint)
    if model.state == "active":
        return
    missing = count_without_vector(db, model)
    if missing:
        raise ValueError(
            f"{missing:,} items have no vector of the model {fingerprint}; embed them before it becomes active"
        )
    for other in model_rows(db):
        if other.state == "former" and other != model:
            drop_model(db, other)
    now = time.time()
    db.execute("UPDATE models SET state = 'former', since = ? WHERE state = 'active'", (now,))
    db.execute("UPDATE models SET state = 'active', since = ? WHERE number = ?", (now, model.number))
    log_change(db, ChangeKind.MODEL)


def drop_model(db: sqlite3.Connection, model: ModelRow) -> None:
    """Delete a model that is not active, with its vectors; raises ValueError if it is."""
    if model.state == "active":
        raise ValueError(f"the model {model.fingerprint} is active; make another one active before it is dropped")
    drop_vectors(db, model)
    db.execute("DELETE FROM models WHERE number = ?", (model.number,))
    log_change(db, ChangeKind.OTHER)


# The items beside the slots of a model; both are read by rising id.
_WITHOUT = "FROM items WHERE NOT EXISTS (SELECT 1 FROM slots WHERE model = ? AND item = items.id)"


def count_without_vector(db: sqlite3.Connection, model: ModelRow) -> int:
    """Return the number of items without a vector of a model."""
    return db.execute(f"SELECT count(*) {_WITHOUT}", (model.number,)).fetchone()[0]


def ids_without_vector(db: sqlite3.Connection, model: ModelRow, limit: int) -> np.ndarray:
    """Return at most `limit` ids of items without a vector of a model, rising."""
    rows = db.execute(f"SELECT id {_WITHOUT} ORDER BY id LIMIT ?", (model.number, limit)).fetchall()
    return np.array(rows, np.int64).reshape(-1)


def add_missing_vectors(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Store vectors of a model that is not active, see `Store.add_vectors`."""
    if model.state == "active":
        raise ValueError(f"the model {model.fingerprint} is active; its vectors come with the items")
    rows = db.execute(
        f"SELECT id {_WITHOUT} AND id IN (SELECT value FROM json_each(?))", (model.number, as_json_list(ids))
    ).fetchall()
    unique, first = np.unique(ids, return_index=True)
    chosen = first[np.isin(unique, np.array(rows, np.int64).reshape(-1))]
    if len(chosen):
        append_vectors(db, model, ids[chosen], vectors[chosen])
        log_change(db, ChangeKind.OTHER)
