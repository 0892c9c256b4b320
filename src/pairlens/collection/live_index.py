"""The index of a SQLite collection that follows every change of the database, of this process and of others."""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np

from pairlens.collection.change_log import changed_since, last_change
from pairlens.collection.filters import Condition
from pairlens.collection.index import MemoryIndex
from pairlens.collection.index_recall import SAMPLE, RecallMeasurement
from pairlens.collection.inverted_file import InvertedLists, read_lists, write_lists
from pairlens.collection.inverted_index import (
    AssignedLists,
    Blocks,
    InvertedIndex,
    build_inverted,
    lists_for,
    train_centres,
)
from pairlens.collection.sqlite_database import SqliteDatabase
from pairlens.collection.sqlite_filters import sqlite_condition
from pairlens.collection.sqlite_items import item_ids
from pairlens.collection.sqlite_models import active_model
from pairlens.collection.store import EXACT, Found
from pairlens.collection.vector_blocks import ModelRow, iterate_blocks, read_vectors

# After changes of this share of the items, the recall is measured again.
STALE_SHARE = 0.1
# The number of lists stays until it is wrong by this factor.
WRONG_LISTS = 2.0
# Filters whose ids are remembered.
FILTERS = 16


@dataclass(eq=False)
class _Loaded:
    """The vectors of a model as they were after a change, and the items that have changed since the recall was measured."""

    model: ModelRow
    index: MemoryIndex | InvertedIndex
    change: int
    recall: RecallMeasurement | None = None
    changed: int = 0


class LiveIndex:
    """The index of the active model; before a search it takes over what has changed since the last one.

    The caller holds the lock during every call, and between `prepare`, `refresh` and `search`.
    """

    def __init__(self, database: SqliteDatabase, inverted_above: int) -> None:
        self.lock = Lock()
        self._database = database
        self._inverted_above = inverted_above
        self._loaded: _Loaded | None = None
        self._filtered: dict[tuple[int, str, tuple[str | float, ...]], np.ndarray] = {}

    def prepare(self, approximate: bool) -> None:
        """Do what takes long, beside other readers: load all vectors, train the lists, measure the recall."""
        if self._loaded is None:
            with self._database.reading_apart() as db:
                self._loaded = _load(db)
        loaded = self._loaded
        if loaded is None or not approximate or len(loaded.index) <= self._inverted_above:
            return
        index = loaded.index
        is_wrong = isinstance(index, InvertedIndex) and not (
            1 / WRONG_LISTS <= lists_for(len(index)) / index.lists <= WRONG_LISTS
        )
        if isinstance(index, MemoryIndex) or is_wrong:
            # Released first: two copies of the vectors are never held.
            self._loaded = loaded = index = None
            with self._database.reading_apart() as db:
                self._loaded = self._load_inverted(db)
        elif loaded.changed > STALE_SHARE * len(index):
            with self._database.reading_apart() as db:
                loaded.recall, loaded.changed = _measured(db, loaded.model, index), 0

    def refresh(self, db: sqlite3.Connection) -> None:
        """Bring the index to the state of a database that is being read."""
        change = last_change(db)
        loaded = self._loaded
        if loaded is not None and change == loaded.change:
            return
        changed = None if loaded is None else changed_since(db, loaded.change)
        # An index that is changed halfway, by an interruption, must not be searched; and two are never held.
        self._loaded = None
        if loaded is None or changed is None:
            loaded = None
            self._loaded = _load(db)
            return
        if len(changed):
            ids, vectors = read_vectors(db, loaded.model, changed)
            loaded.index.remove(np.setdiff1d(changed, ids, assume_unique=True))
            loaded.index.update(ids, vectors)
        loaded.changed += len(changed)
        loaded.change = change
        self._loaded = loaded

    def allowed(self, db: sqlite3.Connection, where: Mapping[str, Condition]) -> np.ndarray:
        """Return the ids that a filter lets through; those of the last filters are remembered until the next change."""
        text, values = sqlite_condition(where)
        key = last_change(db), text, tuple(values)
        if key not in self._filtered:
            ids = item_ids(db, where)
            if len(self._filtered) >= FILTERS:
                self._filtered.clear()
            self._filtered[key] = ids
        return self._filtered[key]

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, without: np.ndarray, recall: float | None
    ) -> Found:
        """Search the index as it was refreshed.

        Args:
            queries: float32 (query, dim).
            k: number of items.
            allowed: ids that may be found; None for all.
            without: ids that must not be found.
            recall: that an approximate search must have; None for an exact one.
        """
        loaded = self._loaded
        if loaded is None:
            ids = np.full((len(queries), k), -1, np.int64)
            return Found(ids, np.full(ids.shape, -np.inf, np.float32), EXACT)
        index = loaded.index
        if queries.shape[1] != index.dim:
            raise ValueError(
                f"the queries have {queries.shape[1]} dimensions and the collection {index.dim}; "
                "embed them with the model of the collection"
            )
        # A filter that keeps few items could find none in the lists that are probed, so all are.
        if isinstance(index, MemoryIndex) or recall is None or loaded.recall is None or allowed is not None:
            return Found(*index.search(queries, k, allowed, without), EXACT)
        probes, measured = loaded.recall.choose(index, recall, k)
        ids, scores = index.search(queries, k, None, without, probes)
        # The probed lists hold fewer than k items for some queries; these are searched in all lists.
        few = np.flatnonzero((ids < 0).any(axis=1))
        if len(few) and probes < index.lists:
            ids[few], scores[few] = index.search(queries[few], k, None, without)
        return Found(ids, scores, measured)

    def agrees(self, db: sqlite3.Connection) -> bool:
        """Return whether the index, if it is loaded, holds exactly the items of a database, after following it."""
        if self._loaded is None:
            return True
        self.refresh(db)
        loaded = self._loaded
        if loaded is None:
            return active_model(db) is None
        held = 0
        for ids, vectors in iterate_blocks(db, loaded.model):
            if not loaded.index.holds(ids, vectors):
                return False
            held += len(ids)
        return held == len(loaded.index)

    def drop(self) -> None:
        """Forget the index; the next search builds it from scratch."""
        self._loaded = None

    def _load_inverted(self, db: sqlite3.Connection) -> _Loaded | None:
        model = active_model(db)
        if model is None:
            return None
        items = db.execute("SELECT count(*) FROM slots WHERE model = ?", (model.number,)).fetchone()[0]
        stored = self._stored_lists(db, model, items)
        blocks = _blocks_of(db, model)
        if stored is None:
            index = build_inverted(blocks, train_centres(blocks, items))
        else:
            changed = changed_since(db, stored.change)
            kept = ~np.isin(stored.ids, np.empty(0, np.int64) if changed is None else changed)
            known = AssignedLists(stored.ids[kept], stored.lists[kept])
            index = build_inverted(blocks, stored.centres, known)
        change = last_change(db)
        if stored is None or stored.change != change:
            self._store_lists(
                InvertedLists(identity_of(db), model.fingerprint, change, index.centres, *index.assigned())
            )
        return _Loaded(model, index, change, _measured(db, model, index))

    def _stored_lists(self, db: sqlite3.Connection, model: ModelRow, items: int) -> InvertedLists | None:
        """Return the lists of an earlier process if they belong to this collection, this model and about this size."""
        try:
            stored = read_lists(self._database.file)
        except (ValueError, OSError):
            return None
        if stored is None or is_stale(db, stored, model):
            return None
        wrong_by = lists_for(items) / len(stored.centres)
        return stored if 1 / WRONG_LISTS <= wrong_by <= WRONG_LISTS else None

    def _store_lists(self, lists: InvertedLists) -> None:
        # Without the file, the next process trains again.
        if not self._database.read_only:
            with suppress(ValueError, OSError):
                write_lists(self._database.file, lists)


def is_stale(db: sqlite3.Connection, stored: InvertedLists, model: ModelRow) -> bool:
    """Return whether stored lists are of another collection or model, or older than the log of changes."""
    is_other = stored.identity != identity_of(db) or stored.model != model.fingerprint
    is_foreign = stored.centres.shape[1] != model.dim or stored.change > last_change(db)
    return is_other or is_foreign or changed_since(db, stored.change) is None


def identity_of(db: sqlite3.Connection) -> str:
    """Return the random number that a collection got when it was made."""
    found = db.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone()
    return found[0] if found and isinstance(found[0], str) else ""


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


def _blocks_of(db: sqlite3.Connection, model: ModelRow) -> Blocks:
    return lambda: iterate_blocks(db, model)


def _measured(db: sqlite3.Connection, model: ModelRow, index: InvertedIndex) -> RecallMeasurement:
    """Measure the recall on items that are evenly spaced by their ids."""
    ids = np.sort(index.assigned()[0])
    count = min(SAMPLE, len(ids))
    chosen = ids[np.arange(count) * len(ids) // max(1, count)]
    ids, queries = read_vectors(db, model, chosen)
    return RecallMeasurement(ids, queries, _blocks_of(db, model))
