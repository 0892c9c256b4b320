"""The index of a collection in memory: an exact search by FAISS that follows additions and removals without a rebuild."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from pairlens.core.memory import check_space_for_faiss

# Room that is left for additions when the vectors are copied to a larger array.
GROWTH = 1.125
# A search fills the bits of queries x k results: more queries than this are searched in parts.
QUERIES_AT_ONCE = 1024
# From this number of queries on, a product of matrices, which reads the vectors once for all queries, is faster than a loop
# over the queries. FAISS 1.15 by itself uses the product only if the queries hold 128,000 numbers, as 250 queries of 512 do.
QUERIES_OF_A_PRODUCT = 4
_ALWAYS, _NEVER = 1, (1 << 31) - 1
# A product of matrices rounds in another order than the product of two vectors. So a few more candidates are taken, and all
# scores are computed again in one way: a query has the same answer alone and in a batch.
_SPARE_CANDIDATES = 8

# float32 (query, dim) and k to float32 (query, k or more) scores in any order, and int64 positions; -1 is none.
PositionSearch: TypeAlias = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def load_faiss() -> Any:
    """Import FAISS, if there is memory for it, and return it."""
    check_space_for_faiss()
    import faiss

    return faiss


class ItemPositions:
    """The ids of items at the positions of an index; -1 is an empty position."""

    def __init__(self, capacity: int = 0) -> None:
        self._ids = np.empty(capacity, np.int64)
        self._size = 0
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def ids(self) -> np.ndarray:
        """int64 (position,) ids."""
        return self._ids[: self._size]

    def append(self, ids: np.ndarray) -> int:
        """Give ids the next positions, and return the first of these."""
        first, end = self._size, self._size + len(ids)
        self._ids = grown(self._ids, end, first)
        self._ids[first:end] = ids
        self._size = end
        self._sorted = None
        return first

    def set(self, positions: np.ndarray, ids: np.ndarray | int) -> None:
        """Put ids at positions."""
        self._ids[positions] = ids
        self._sorted = None

    def shorten(self, size: int) -> None:
        """Drop the positions from `size` on."""
        self._size = size
        self._sorted = None

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of ids, -1 for those that are not there."""
        if not self._size or not len(ids):
            return np.full(len(ids), -1, np.int64)
        if self._sorted is None:
            order = np.argsort(self.ids, kind="stable")
            self._sorted = order, self.ids[order]
        order, rising = self._sorted
        place = np.searchsorted(rising, ids).clip(max=self._size - 1)
        return np.where(rising[place] == ids, order[place], -1)

    def mask(self, allowed: np.ndarray | None, without: np.ndarray) -> np.ndarray | None:
        """Return (position,) whether a search may find it; None if it may find all, and no position is empty."""
        if allowed is None and not len(without):
            return None
        mask = np.full(self._size, allowed is None)
        if allowed is not None:
            found = self.find(allowed)
            mask[found[found >= 0]] = True
        else:
            mask[self.ids < 0] = False
        excluded = self.find(without)
        mask[excluded[excluded >= 0]] = False
        return mask


class MemoryIndex:
    """The vectors of a collection in one array, which FAISS searches exactly.

    >>> index = MemoryIndex(2)
    >>> index.update(np.array([7, 9]), np.eye(2, dtype=np.float32))
    >>> index.search(np.array([[0.6, 0.8]], np.float32), 1)[0]
    array([[9]])
    """

    def __init__(self, dim: int, capacity: int = 0) -> None:
        self.dim = dim
        self._positions = ItemPositions(capacity)
        self._vectors = np.empty((capacity, dim), np.float32)

    def __len__(self) -> int:
        return len(self._positions.ids)

    def load(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Add items that the index does not have."""
        first = self._positions.append(ids)
        self._vectors = grown(self._vectors, len(self), first)
        self._vectors[first : len(self)] = vectors

    def update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Add items, or replace the vectors of those that the index has."""
        found = self._positions.find(ids)
        is_known = found >= 0
        self._vectors[found[is_known]] = vectors[is_known]
        self.load(ids[~is_known], vectors[~is_known])

    def remove(self, ids: np.ndarray) -> None:
        """Remove items; the last ones take their positions."""
        found = self._positions.find(ids)
        removed = np.unique(found[found >= 0])
        size = len(self) - len(removed)
        holes = removed[removed < size]
        last = np.setdiff1d(np.arange(size, len(self)), removed, assume_unique=True)
        self._vectors[holes] = self._vectors[last]
        self._positions.set(holes, self._positions.ids[last])
        self._positions.shorten(size)

    def holds(self, ids: np.ndarray, vectors: np.ndarray) -> bool:
        """Return whether the index has these items with these vectors."""
        found = self._positions.find(ids)
        return bool((found >= 0).all() and np.array_equal(self._vectors[found], vectors))

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, without: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest items of float32 (query, dim) vectors.

        Args:
            queries: of unit length.
            k: number of items; more than there are is filled up.
            allowed: ids that may be found; None for all.
            without: ids that must not be found.

        Returns:
            int64 (query, k) ids, nearest first, equal scores by id, -1 where there is none; float32 (query, k) scores.
        """
        mask = self._positions.mask(allowed, np.empty(0, np.int64) if without is None else without)
        with selector_of(mask) as selector:
            return ids_and_scores(self._nearest(selector), queries, k, self._positions.ids)

    def _nearest(self, selector: Any) -> PositionSearch:
        faiss = load_faiss()
        vectors = self._vectors[: len(self)]

        def nearest(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            wide = min(k + _SPARE_CANDIDATES, len(vectors))
            scores = np.empty((len(queries), wide), np.float32)
            positions = np.empty((len(queries), wide), np.int64)
            # The number belongs to the process; another thread that changes it meanwhile changes only the time this takes.
            faiss.cvar.distance_compute_blas_threshold = _ALWAYS if len(queries) >= QUERIES_OF_A_PRODUCT else _NEVER
            # The search of IndexFlatIP, on our own array: an index would hold a copy of it.
            faiss.knn_inner_product(
                faiss.swig_ptr(queries), faiss.swig_ptr(vectors), self.dim, len(queries), len(vectors), wide,
                faiss.swig_ptr(scores), faiss.swig_ptr(positions), selector,
            )  # fmt: skip
            faiss.fvec_inner_products_by_idx(
                faiss.swig_ptr(scores), faiss.swig_ptr(queries), faiss.swig_ptr(vectors), faiss.swig_ptr(positions),
                self.dim, len(queries), wide,
            )  # fmt: skip
            return scores, positions

        return nearest


def ids_and_scores(
    nearest: PositionSearch, queries: np.ndarray, k: int, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Search in parts, and return (query, k) ids and scores, ordered by score and then id, filled up with -1 and -inf."""
    found = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    most = min(k, len(ids))
    if most:
        with one_thread_for_one(len(queries)):
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                part = slice(start, start + QUERIES_AT_ONCE)
                best, positions = nearest(np.ascontiguousarray(queries[part], np.float32), most)
                best = np.where(positions < 0, -np.inf, best)
                candidates = np.where(positions < 0, -1, ids[positions])
                order = np.lexsort((candidates, -best))[:, :most]  # by score, then by id, in every row
                found[part, :most] = np.take_along_axis(candidates, order, 1)
                scores[part, :most] = np.take_along_axis(best, order, 1)
    return found, scores


@contextmanager
def one_thread_for_one(queries: int) -> Iterator[None]:
    """Let FAISS use one thread for a single query: on a busy machine, waiting for others takes longer than the work."""
    faiss = load_faiss()
    threads = faiss.omp_get_max_threads()
    if queries == 1:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


@contextmanager
def selector_of(mask: np.ndarray | None) -> Iterator[Any]:
    """Yield FAISS's selector of positions, None for all; the bits that it refers to live as long as the block."""
    if mask is None:
        yield None
        return
    faiss = load_faiss()
    bits = np.packbits(mask, bitorder="little")
    yield faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))


def grown(array: np.ndarray, size: int, used: int) -> np.ndarray:
    """Return the array if it has room for `size` rows, else a larger one with its first `used` rows."""
    if size <= len(array):
        return array
    larger = np.empty((int(size * GROWTH), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger
