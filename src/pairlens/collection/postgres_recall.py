"""The recall of an HNSW index on PostgreSQL, measured on a sample of the collection's own items."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.index_recall import wilson_interval
from pairlens.collection.postgres_hnsw import EFFORTS, MEASURED_K, IndexState
from pairlens.collection.postgres_models import model_table, vector_block
from pairlens.collection.postgres_rows import unpack_vectors
from pairlens.collection.postgres_schema import vector_table
from pairlens.collection.postgres_search import VectorQuery, search_through_index, set_effort
from pairlens.collection.store import EXACT

if TYPE_CHECKING:
    from psycopg import Cursor

SAMPLE = 200
# Vectors that are read at once.
BLOCK = 4096
# Two sums of the same products in another order differ by less than this.
_EQUAL_SCORES = 1e-6
# The measurement ends with the effort at which all queries find all but this share.
_MISSED = 0.002


def measure_index(cursor: "Cursor[Any]", state: IndexState) -> dict[str, Any]:
    """Return the recall at several efforts, as `IndexState.measured` describes it; reads all vectors twice.

    The queries are items that are moved, each by the difference of another item and its nearest neighbour, so they lie as
    far from the items as new photos do. Items themselves would be found too easily, because the index has a link from each
    to its neighbours. A found item counts if its score is at least that of the k-th nearest one, so that equal items stand
    for each other.
    """
    ids, vectors = _sample(cursor, state)
    queries = moved_items(vectors, _nearest_vectors(cursor, ids, vectors))
    nearest = _nearest_scores(cursor, queries)
    steps: list[list[float]] = []
    for effort in EFFORTS:
        set_effort(cursor, effort, state.items)
        query = VectorQuery(queries, min(MEASURED_K[-1], max(1, state.items)))
        scores = search_through_index(cursor, query, state, EXACT).scores
        at_effort = [_share_found(scores, nearest, min(k, state.items)) for k in MEASURED_K]
        steps += [
            [effort, k, share, *wilson_interval(share, max(1, len(ids)))]
            for k, share in zip(MEASURED_K, at_effort, strict=True)
        ]
        if min(at_effort) >= 1 - _MISSED:
            break
    return {"items": state.items, "queries": len(ids), "steps": steps}


def _sample(cursor: "Cursor[Any]", state: IndexState) -> tuple[np.ndarray, np.ndarray]:
    """Return the (ids, vectors) of items that are chosen by a hash of their id, so by no order that they have."""
    from psycopg import sql

    text = sql.SQL("SELECT item, vector FROM {} ORDER BY hashint8(item) LIMIT %s").format(vector_table(state.number))
    rows = cursor.execute(text, [SAMPLE]).fetchall()
    return np.array([item for item, _ in rows], np.int64), unpack_vectors((v for _, v in rows), state.dim)


def moved_items(vectors: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Return x_i + x_(i-1) - n_(i-1), scaled to length 1, of float32 (query, dim) items x and their nearest neighbours n."""
    moved = vectors + np.roll(vectors - neighbors, 1, axis=0)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    # In a collection of a few items, a sum may vanish; an item itself is a query, too.
    return np.where(lengths > 0, moved / np.maximum(lengths, np.finfo(np.float32).tiny), vectors)


def _nearest_vectors(cursor: "Cursor[Any]", ids: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return float32 (query, dim) the nearest neighbour of each item, the item itself if it is alone."""
    nearest, best = vectors.copy(), np.full(len(ids), -np.inf, np.float32)
    for block_ids, block in _blocks(cursor):
        scores = vectors @ block.T  # (query, item)
        scores[ids[:, None] == block_ids] = -np.inf
        rows = scores.argmax(axis=1)
        found = scores[np.arange(len(ids)), rows]
        better = found > best
        nearest[better], best[better] = block[rows[better]], found[better]
    return nearest


def _nearest_scores(cursor: "Cursor[Any]", queries: np.ndarray) -> np.ndarray:
    """Return (query, rank) the largest scores of each query, computed exactly."""
    best = np.full((len(queries), MEASURED_K[-1]), -np.inf, np.float32)
    for _, block in _blocks(cursor):
        together = np.concatenate([best, queries @ block.T], axis=1)
        best = -np.partition(-together, best.shape[1] - 1, axis=1)[:, : best.shape[1]]
    return -np.sort(-best, axis=1)


def _blocks(cursor: "Cursor[Any]") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    model, last = model_table(cursor, None), 0
    while True:
        ids, vectors = vector_block(cursor, model, last, BLOCK)
        if not len(ids):
            return
        yield ids, vectors
        last = int(ids[-1])


def _share_found(scores: np.ndarray, nearest: np.ndarray, k: int) -> float:
    """Return the mean share of the k nearest items that are among the first k found."""
    return float(np.mean(scores[:, :k] >= nearest[:, k - 1 : k] - _EQUAL_SCORES))
