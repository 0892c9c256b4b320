"""The approximate index of a large collection: vectors in lists around centres, of which a search probes some.

Source: Sivic and Zisserman, "Video Google", ICCV 2003; as FAISS implements it (Johnson et al., arXiv 1702.08734).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from pairlens.collection.index import (
    ItemPositions,
    PositionSearch,
    grown,
    ids_and_scores,
    load_faiss,
    selector_of,
)

# Vectors per list that the centres are trained on, and rounds of k-means: more change the recall by less than 0.01.
TRAINED_PER_LIST = 40
ROUNDS = 8
SEED = 0

# Yields the (ids, vectors) of all items block by block; every call starts from the beginning.
Blocks: TypeAlias = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


def lists_for(items: int) -> int:
    """Return the number of lists for a number of items: 2 √n.

    >>> lists_for(1_000_000), lists_for(3)
    (2000, 3)
    """
    return max(1, min(items, round(2 * math.sqrt(items))))


def train_centres(blocks: Blocks, items: int) -> np.ndarray:
    """Return float32 (list, dim) centres, trained by k-means on an even sample of the items."""
    faiss = load_faiss()
    lists = lists_for(items)
    every = max(1, items // (TRAINED_PER_LIST * lists))
    # The first row of a block is that whose number among all items is divisible by `every`.
    sample, seen = [], 0
    for _, vectors in blocks():
        sample.append(vectors[-seen % every :: every].copy())
        seen += len(vectors)
    means = faiss.Kmeans(
        sample[0].shape[1], lists, niter=ROUNDS, seed=SEED, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=2 * TRAINED_PER_LIST,
    )  # fmt: skip
    means.train(np.concatenate(sample))
    return means.centroids.reshape(lists, -1)


class InvertedIndex:
    """The vectors of a collection in the lists of FAISS's IndexIVFFlat, one copy of them.

    A search that probes all lists is exact.
    """

    def __init__(self, centres: np.ndarray) -> None:
        """Make an empty index around float32 (list, dim) centres."""
        faiss = load_faiss()
        self.centres = centres
        self.lists, self.dim = centres.shape
        self._centre_index: Any = faiss.IndexFlatIP(self.dim)
        self._centre_index.add(centres)
        self._faiss: Any = faiss.IndexIVFFlat(self._centre_index, self.dim, self.lists, faiss.METRIC_INNER_PRODUCT)
        self._faiss.is_trained = True
        self._positions = ItemPositions()
        # int32 (position,) the list of each item.
        self._list_of = np.empty(0, np.int32)

    def __len__(self) -> int:
        return self._faiss.ntotal

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """Return int64 (item,) the list whose centre is nearest to each vector."""
        return self._centre_index.search(np.ascontiguousarray(vectors, np.float32), 1)[1][:, 0]

    def reserve(self, lists: np.ndarray) -> None:
        """Reserve room for items whose lists are known: growing lists would take up to twice the memory."""
        self._positions = ItemPositions(len(lists))
        self._list_of = np.empty(len(lists), np.int32)
        inverted = self._faiss.invlists
        for number, size in enumerate(np.bincount(lists, minlength=self.lists).tolist()):
            inverted.resize(number, size)
            # A list keeps its memory when it is emptied.
            inverted.resize(number, 0)

    def load(self, ids: np.ndarray, vectors: np.ndarray, lists: np.ndarray) -> None:
        """Add items that the index does not have, to the lists that `assign` has returned for them."""
        faiss = load_faiss()
        first = self._positions.append(ids)
        self._list_of = grown(self._list_of, first + len(ids), first)
        self._list_of[first : first + len(ids)] = lists
        vectors = np.ascontiguousarray(vectors, np.float32)
        positions = np.arange(first, first + len(ids))
        lists = np.ascontiguousarray(lists, np.int64)
        self._faiss.add_core(
            len(ids), faiss.swig_ptr(vectors), faiss.swig_ptr(positions), faiss.swig_ptr(lists)
        )  # fmt: skip

    def update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Add items, or replace the vectors of those that the index has."""
        if len(ids):
            self.remove(ids)
            self.load(ids, vectors, self.assign(vectors))

    def remove(self, ids: np.ndarray) -> None:
        """Remove items; their positions stay empty."""
        found = self._positions.find(ids)
        removed = found[found >= 0]
        if len(removed):
            self._faiss.remove_ids(load_faiss().IDSelectorBatch(removed))
            self._positions.set(removed, -1)

    def holds(self, ids: np.ndarray, vectors: np.ndarray) -> bool:
        """Return whether the index has these items; their vectors lie where they cannot be compared cheaply."""
        return len(ids) == len(vectors) and bool((self._positions.find(ids) >= 0).all())

    def assigned(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the int64 ids of all items and the int32 numbers of their lists."""
        ids = self._positions.ids
        return ids[ids >= 0], self._list_of[: len(ids)][ids >= 0]

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        without: np.ndarray | None = None,
        probes: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return near items as `MemoryIndex.search` does, from a number of lists; None searches all."""
        excluded = np.empty(0, np.int64) if without is None else without
        mask = self._positions.mask(allowed, excluded)
        with selector_of(mask) as selector:
            return ids_and_scores(self._nearest(selector, probes or self.lists), queries, k, self._positions.ids)

    def _nearest(self, selector: Any, probes: int) -> PositionSearch:
        parameters = load_faiss().SearchParametersIVF(sel=selector, nprobe=probes)
        # faiss.contrib, which pytorch-metric-learning imports, replaces the method by one without parameters, and keeps the
        # original under this name.
        search = getattr(self._faiss, "search_numpy", self._faiss.search)
        return lambda queries, k: search(queries, k, params=parameters)


def build_inverted(blocks: Blocks, centres: np.ndarray, known: "AssignedLists | None" = None) -> InvertedIndex:
    """Return an index of all items around given centres; the items are read twice, so that they are never held twice.

    Args:
        blocks: of all items; both readings must yield the same.
        centres: of `train_centres`.
        known: the lists of items that need not be compared with all centres.
    """
    index = InvertedIndex(centres)
    lists = [
        index.assign(vectors) if known is None else known.complete(ids, vectors, index.assign)
        for ids, vectors in blocks()
    ]
    index.reserve(np.concatenate([np.empty(0, np.int64), *lists]))
    for (ids, vectors), numbers in zip(blocks(), lists, strict=True):
        index.load(ids, vectors, numbers)
    return index


class AssignedLists:
    """The lists of items as an earlier index knew them.

    >>> known = AssignedLists(np.array([5, 3]), np.array([1, 0]))
    >>> known.complete(np.array([3, 4, 5]), np.zeros((3, 2)), lambda vectors: np.full(len(vectors), 9))
    array([0, 9, 1])
    """

    def __init__(self, ids: np.ndarray, lists: np.ndarray) -> None:
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order]
        self._lists = lists[order]

    def complete(self, ids: np.ndarray, vectors: np.ndarray, assign: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return int64 (item,) the lists of items; those that are not known are assigned by their vectors."""
        if not len(self._ids):
            return assign(vectors)
        place = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        lists = self._lists[place].astype(np.int64)
        is_new = self._ids[place] != ids
        if is_new.any():
            lists[is_new] = assign(vectors[is_new])
        return lists
