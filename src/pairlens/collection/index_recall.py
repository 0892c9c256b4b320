"""The recall of an approximate index, measured on a sample of the items that it holds."""

import math
from collections.abc import Iterator

import numpy as np

from pairlens.collection.index import load_faiss
from pairlens.collection.inverted_index import Blocks, InvertedIndex
from pairlens.collection.store import EXACT, IndexRecall

SAMPLE = 500
# Searches for up to 10 items state the recall at 10, others that at 100.
DEPTHS = (10, 100)
ROWS_AT_ONCE = 1 << 14
# Two ways to compute one cosine differ by a few units in the last place.
ROUNDING = 1e-6
Z_95 = 1.959964


class RecallMeasurement:
    """The exact results of a sample of items, with which the number of probed lists is chosen."""

    def __init__(self, ids: np.ndarray, queries: np.ndarray, blocks: Blocks) -> None:
        """Search for items exactly, none finding itself.

        Args:
            ids: int64 (query,) the items of the sample.
            queries: float32 (query, dim) their vectors.
            blocks: all items of the collection.
        """
        self._ids = ids
        self._queries = np.ascontiguousarray(queries, np.float32)
        self._scores = _exact_scores(ids, self._queries, blocks)  # (query, rank), best first
        self._chosen: dict[tuple[float, int], tuple[int, IndexRecall]] = {}

    def choose(self, index: InvertedIndex, recall: float, k: int) -> tuple[int, IndexRecall]:
        """Return the number of lists that must be probed, and the recall that was measured with it.

        The lower end of the interval reaches the recall that is asked for; where no part of the lists does that, all are
        probed, and nothing is missed.
        """
        depth = min(DEPTHS[0] if k <= DEPTHS[0] else DEPTHS[1], len(index) - 1)
        if (recall, depth) not in self._chosen:
            self._chosen[recall, depth] = self._choose(index, recall, depth)
        return self._chosen[recall, depth]

    def _choose(self, index: InvertedIndex, recall: float, depth: int) -> tuple[int, IndexRecall]:
        probes = 1
        while depth > 0 and probes < index.lists:
            measured = self._measure(index, depth, probes)
            if measured.low >= recall:
                return probes, measured
            probes = math.ceil(1.25 * probes)
        return index.lists, EXACT

    def _measure(self, index: InvertedIndex, depth: int, probes: int) -> IndexRecall:
        ids, scores = index.search(self._queries, depth + 1, probes=probes)
        # By score, because of several equal vectors any may be found.
        least = self._scores[:, depth - 1 : depth] - ROUNDING
        hits = ((scores >= least) & (ids != self._ids[:, None])).sum(axis=1).clip(max=depth)
        share = float(hits.mean() / depth)
        return IndexRecall(share, *wilson_interval(share, len(hits)), depth, len(hits))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the interval at 95 % of a mean of values between 0 and 1.

    The score interval of a share of `count` trials. No values between 0 and 1 vary more than trials of the same mean, so
    the interval is rather too long; the results of one query are not counted as several trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    >>> [round(end, 4) for end in wilson_interval(0.97, 500)]
    [0.9511, 0.9817]
    """
    z = Z_95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z / (4 * count)) / (1 + z)
    # Rounding must not leave the share itself outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _exact_scores(ids: np.ndarray, queries: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Return float32 (query, rank) the largest cosines of each query to other items, best first."""
    faiss = load_faiss()
    # One more, because the item itself is the nearest.
    heap = faiss.ResultHeap(len(queries), DEPTHS[-1] + 1, keep_max=True)
    for found, vectors in _larger(blocks):
        k = min(DEPTHS[-1] + 1, len(found))
        scores, rows = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, np.ascontiguousarray(found[rows]))
    heap.finalize()
    scores = np.where(ids[:, None] == heap.I, -np.inf, heap.D)
    return -np.sort(-scores, axis=1)


def _larger(blocks: Blocks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield several blocks at once: FAISS begins each list of results again."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    rows = 0
    for block in blocks():
        waiting.append(block)
        rows += len(block[0])
        if rows >= ROWS_AT_ONCE:
            yield _joined(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([ids for ids, _ in blocks]), np.concatenate([vectors for _, vectors in blocks])
