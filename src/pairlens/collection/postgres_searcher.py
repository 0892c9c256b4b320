"""Searching a PostgreSQL collection: which index is used, and who builds and measures it."""

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from pairlens.collection.postgres_hnsw import IndexState, build_index, index_state
from pairlens.collection.postgres_models import store_measurement
from pairlens.collection.postgres_recall import measure_index
from pairlens.collection.postgres_search import VectorQuery, no_items, search_exactly, search_vectors
from pairlens.collection.postgres_sessions import PostgresSessions
from pairlens.collection.store import Found

if TYPE_CHECKING:
    from psycopg import Cursor

# Seconds after which a process that may not build the index, such as a reader of a replica, looks for it again.
_PATIENCE = 60.0


class PostgresSearcher:
    """Searches for the threads of a process; the first one that needs an index builds it, and others search exactly."""

    def __init__(self, sessions: PostgresSessions, index_above: int) -> None:
        self._sessions = sessions
        self._index_above = index_above
        self._preparing = Lock()
        self._no_index_until = 0.0
        # The measurement of a process that may not write it into the database: the number of the model, and the figures.
        self._measured: tuple[int, dict[str, Any]] | None = None

    def search(self, query: VectorQuery, recall: float, is_exact: bool) -> Found:
        """Return the nearest items; raises ValueError if the queries do not fit the active model."""

        def exactly(cursor: "Cursor[Any]") -> Found:
            state = self._state(cursor, query)
            return search_exactly(cursor, state, query) if state else no_items(query)

        def through_index(cursor: "Cursor[Any]") -> Found | None:
            state = self._state(cursor, query)
            return search_vectors(cursor, state, query, recall, self._index_above) if state else no_items(query)

        if is_exact:
            return self._sessions.read(exactly)
        found = self._sessions.read(through_index)
        if found is None and self._prepare():
            found = self._sessions.read(through_index)
        return found or self._sessions.read(exactly)

    def build(self) -> None:
        """Build the index of the active model unless it exists, and measure its recall, while others read and write.

        Raises:
            OSError: if this user may not do that.
        """
        state = self._sessions.read(self._state)
        if state is None or not state.fits_index or not state.items:
            return
        if not state.is_built:
            with self._sessions.alone() as cursor:
                if not build_index(cursor, state):
                    return
        self._measured = self._sessions.read(self._measure)
        number, measured = self._measured or (0, {})
        self._sessions.write(lambda cursor: store_measurement(cursor, number, measured))

    def _measure(self, cursor: "Cursor[Any]") -> tuple[int, dict[str, Any]] | None:
        state = self._state(cursor)
        return (state.number, measure_index(cursor, state)) if state else None

    def _prepare(self) -> bool:
        """Build and measure the index if this process may and no other thread does it; returns whether to look again."""
        if time.monotonic() < self._no_index_until or not self._preparing.acquire(blocking=False):
            return False
        try:
            self.build()
        except OSError:
            # A reader may not build or write; what it has measured itself is in its memory.
            self._no_index_until = time.monotonic() + _PATIENCE
        finally:
            self._preparing.release()
        return True

    def _state(self, cursor: "Cursor[Any]", query: VectorQuery | None = None) -> IndexState | None:
        state = index_state(cursor, self._measured)
        if query is not None and state is not None and query.vectors.shape[1:] != (state.dim,):
            raise ValueError(
                f"the queries have the shape {query.vectors.shape}, but the active model has {state.dim} dimensions"
            )
        return state
