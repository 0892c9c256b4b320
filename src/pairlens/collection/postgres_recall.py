"""The recall of an HNSW index on PostgreSQL, measured on a sample of the collection's own items."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

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
# The 97.5 % quantile of the normal distribution.
_QUANTILE = 1.959964


def measure_index(cursor: "Cursor[Any]", state: IndexState) -> dict[str, Any]:
    """Return the recall at several efforts, as `IndexState.measured` describes it; reads all vectors once.

    An item counts as found if its score is at least that of the k-th nearest item, so that equal items stand for each other.
    """
    ids, vectors = _sample(cursor, state)
    nearest = _nearest_scores(cursor, ids, vectors)
    steps: list[list[float]] = []
    for effort in EFFORTS:
        set_effort(cursor, effort, state.items)
        query = VectorQuery(vectors, min(MEASURED_K[-1] + 1, max(1, state.items - 1)))
        found = search_through_index(cursor, query, state, EXACT)
        at_effort = [_share_found(found.ids, found.scores, ids, nearest, k) for k in MEASURED_K]
        steps += [[effort, k, share, *wilson(share, len(ids))] for k, share in zip(MEASURED_K, at_effort, strict=True)]
        if min(at_effort) >= 1 - _MISSED:
            break
    return {"items": state.items, "queries": len(ids), "steps": steps}


def _sample(cursor: "Cursor[Any]", state: IndexState) -> tuple[np.ndarray, np.ndarray]:
    """Return the (ids, vectors) of items that are chosen by a hash of their id, so by no order that they have."""
    from psycopg import sql

    text = sql.SQL("SELECT item, vector FROM {} ORDER BY hashint8(item) LIMIT %s").format(vector_table(state.number))
    rows = cursor.execute(text, [SAMPLE]).fetchall()
    return np.array([item for item, _ in rows], np.int64), unpack_vectors((v for _, v in rows), state.dim)


def _nearest_scores(cursor: "Cursor[Any]", ids: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return (query, rank) the largest scores of each query, computed exactly and without the query itself."""
    best = np.full((len(ids), MEASURED_K[-1]), -np.inf, np.float32)
    for block_ids, block in _blocks(cursor):
        scores = vectors @ block.T  # (query, item)
        scores[ids[:, None] == block_ids] = -np.inf
        together = np.concatenate([best, scores], axis=1)
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


def _share_found(found: np.ndarray, scores: np.ndarray, ids: np.ndarray, nearest: np.ndarray, k: int) -> float:
    """Return the mean share of the k nearest items that are among the first k found, the query itself left out."""
    shares = []
    for row, item in enumerate(ids):
        others = scores[row][(found[row] != item) & (found[row] >= 0)][:k]
        exist = min(k, int(np.isfinite(nearest[row]).sum()))
        if exist:
            shares.append(np.sum(others >= nearest[row, exist - 1] - _EQUAL_SCORES) / exist)
    return float(np.mean(shares)) if shares else 1.0


def wilson(share: float, queries: int) -> tuple[float, float]:
    """Return the interval of a mean share at 95 %, by the score interval of a proportion of independent queries.

    A mean of values between 0 and 1 varies no more than a proportion with the same mean, so the interval is wide enough
    although the items of one query are not independent.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    >>> [round(end, 3) for end in wilson(0.99, 200)]
    [0.964, 0.997]
    """
    if not queries:
        return 0.0, 1.0
    square = _QUANTILE**2 / queries
    half = _QUANTILE * math.sqrt(share * (1 - share) / queries + square / (4 * queries))
    middle = share + square / 2
    # Rounding must not leave the share itself outside.
    return max(0.0, min(share, (middle - half) / (1 + square))), min(1.0, max(share, (middle + half) / (1 + square)))
