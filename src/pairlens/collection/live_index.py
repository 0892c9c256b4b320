"""The index of a SQLite collection that follows every change of the database, of this process and of others."""

import sqlite3
from dataclasses import dataclass
from threading import Lock

import numpy as np

from pairlens.collection.change_log import changed_since, last_change
from pairlens.collection.index import MemoryIndex
from pairlens.collection.sqlite_models import active_model
from pairlens.collection.store import EXACT, Found
from pairlens.collection.vector_blocks import ModelRow, iterate_blocks, read_vectors


@dataclass(eq=False)
class _Loaded:
    """The vectors of a model as they were after a change."""

    model: ModelRow
    index: MemoryIndex
    change: int


class LiveIndex:
    """A `MemoryIndex` of the active model; before a search it takes over what has changed since the last one."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._loaded: _Loaded | None = None

    def refresh(self, db: sqlite3.Connection) -> None:
        """Bring the index to the state of a database that is being read; the caller holds the lock."""
        change = last_change(db)
        loaded = self._loaded
        if loaded is not None and change == loaded.change:
            return
        changed = None if loaded is None else changed_since(db, loaded.change)
        if loaded is None or changed is None:
            # Released first, so that two copies of the vectors are never held.
            self._loaded = loaded = None
            self._loaded = _load(db)
            return
        if len(changed):
            ids, vectors = read_vectors(db, loaded.model, changed)
            loaded.index.remove(np.setdiff1d(changed, ids, assume_unique=True))
            loaded.index.update(ids, vectors)
        loaded.change = change

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, without: np.ndarray) -> Found:
        """Search the index as it was refreshed; the caller holds the lock."""
        if self._loaded is None:
            ids = np.full((len(queries), k), -1, np.int64)
            return Found(ids, np.full(ids.shape, -np.inf, np.float32), EXACT)
        index = self._loaded.index
        if queries.shape[1] != index.dim:
            raise ValueError(
                f"the queries have {queries.shape[1]} dimensions and the collection {index.dim}; "
                "embed them with the model of the collection"
            )
        return Found(*index.search(queries, k, allowed, without), EXACT)


def _load(db: sqlite3.Connection) -> _Loaded | None:
    model = active_model(db)
    if model is None:
        return None
    blocks, used = db.execute(
        "SELECT count(*), coalesce(sum(used), 0) FROM blocks WHERE model = ?", (model.number,)
    ).fetchone()
    index = MemoryIndex(model.dim, min(used, blocks * model.rows))
    for ids, vectors in iterate_blocks(db, model):
        index.load(ids, vectors)
    return _Loaded(model, index, last_change(db))
