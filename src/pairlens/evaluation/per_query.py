"""Every metric of every query, from one search in bounded memory; its queries can be shared out over processes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.distributed import gather_rows, rank, world_size
from pairlens.evaluation.metrics import map_at_r, precision_at_k, r_precision, recall_at_k
from pairlens.neighbors.approximate import ApproximateIndex, Approximation, IndexKind, open_index
from pairlens.neighbors.exact import ExactIndex

QUERIES_AT_ONCE = 4096
# FAISS takes half as long again for the same queries in chunks of a few hundred.
FEWEST_AT_ONCE = 2048
PARTS = 16
BYTES_AT_ONCE = 2**28
# Of one neighbour of one query: what FAISS keeps to choose from, scores and indices twice, labels and hits.
BYTES_A_NEIGHBOR = 64
MOST_RANK = 1 << 40


@dataclass(frozen=True, eq=False)
class QueryValues:
    """Every metric of every query that has a right item.

    Attributes:
        queries: (query,) which queries these are.
        values: (query,) values by the metric's name.
        approximation: what an approximate search misses; None if the search was exact.
    """

    queries: Tensor
    values: dict[str, Tensor]
    approximation: Approximation | None = None


def measure_queries(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
    index: IndexKind = "exact",
    sharded: bool = False,
) -> QueryValues:
    """Return what `evaluate` takes the means of, query by query; arguments and errors are its own.

    >>> measure_queries(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([5, 5, 7, 7]), recalls=(1,)).values["R@1"]
    tensor([1., 1., 0., 0.])
    """
    task = _task(queries, labels, gallery, gallery_labels, recalls)
    opened = open_index(task.items, index)
    measured = task.measure(opened, rank(), world_size()) if sharded else task.measure(opened)
    rows, values = (gather_rows(part) for part in measured) if sharded else measured
    order = rows.argsort()
    names = [f"R@{k}" for k in recalls] + [f"P@{k}" for k in recalls] + ["R-Precision", "MAP@R"]
    columns = dict(zip(names, values[order].unbind(dim=1), strict=True))
    return QueryValues(rows[order], columns, task.approximation(opened))


@dataclass(frozen=True, eq=False)
class Task:
    """Queries to be looked up among items, and how many right ones there are for each.

    Attributes:
        queries: (query, dim).
        labels: (query,).
        items: (item, dim).
        item_labels: (item,).
        one_set: whether the queries are the items, so that each is left out of its own search.
        recalls: the k of R@k and P@k.
        chosen: (query,) the queries with a right item, those with most first.
        relevant: (query,) R of these.
    """

    queries: Tensor
    labels: Tensor
    items: Tensor
    item_labels: Tensor
    one_set: bool
    recalls: tuple[int, ...]
    chosen: Tensor
    relevant: Tensor

    @property
    def available(self) -> int:
        """How many items there are to find for a query."""
        return len(self.items) - int(self.one_set)

    def measure(
        self, index: ExactIndex | ApproximateIndex, rank: int = 0, world_size: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return which queries one of several processes has measured, and their (query, metric) values.

        The chunks are the same for any number of processes and dealt out in turn, so a query is searched together with
        the same others, and rounded alike, whoever searches it.
        """
        chunks = self.chunks()[rank::world_size]
        rows = [self.chosen[chunk] for chunk in chunks]
        values = [self._measure(index, chunk) for chunk in chunks]
        nothing = self.queries.new_zeros(0, 2 * len(self.recalls) + 2, dtype=torch.float32)
        return torch.cat([self.chosen[:0], *rows]), torch.cat([nothing, *values])

    def chunks(self) -> list[slice]:
        """Return which queries are searched at once: few where a large class needs many neighbours."""
        wanted = self.relevant.clamp(min=max(self.recalls)).clamp(max=self.available).tolist()
        most = min(QUERIES_AT_ONCE, max(FEWEST_AT_ONCE, -(-len(wanted) // PARTS)))
        chunks, start = [], 0
        while start < len(wanted):
            size = max(1, min(most, BYTES_AT_ONCE // (BYTES_A_NEIGHBOR * wanted[start])))
            chunks.append(slice(start, min(start + size, len(wanted))))
            start += size
        return chunks

    def approximation(self, index: ExactIndex | ApproximateIndex) -> Approximation | None:
        """Return what an index misses, as deep as the largest k; None if it is exact."""
        if isinstance(index, ExactIndex):
            return None
        # In the order of the set, not by R: evenly spaced ones are then of all classes.
        rows = self.chosen.sort().values
        k = min(max(self.recalls), self.available)
        return index.measure(self.queries, k, rows, itself=rows if self.one_set else None)

    def _measure(self, index: ExactIndex | ApproximateIndex, chunk: slice) -> Tensor:
        rows, relevant = self.chosen[chunk], self.relevant[chunk]
        most = min(max(*self.recalls, int(relevant[0])), self.available)
        found = index.search(self.queries[rows], most, itself=rows if self.one_set else None)
        hits = self.item_labels[found.indices] == self.labels[rows, None]
        at_k = [measure(hits, k) for measure in (recall_at_k, precision_at_k) for k in self.recalls]
        return torch.stack([*at_k, r_precision(hits, relevant), map_at_r(hits, relevant)], dim=1)


def _task(
    queries: Tensor, labels: Tensor, gallery: Tensor | None, gallery_labels: Tensor | None, recalls: Sequence[int]
) -> Task:
    one_set = gallery is None
    items, item_labels = (queries, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    _check(queries, labels, items, item_labels, recalls, given=(gallery is None, gallery_labels is None))
    labels, item_labels = labels.to(queries.device), item_labels.to(queries.device)
    relevant = _count_relevant(labels, item_labels) - int(one_set)
    order = relevant.argsort(descending=True, stable=True)
    chosen = order[: int((relevant > 0).sum())]
    if not len(chosen):
        raise ValueError("no query has another item of its class in the gallery, so nothing can be measured")
    return Task(queries, labels, items, item_labels, one_set, tuple(recalls), chosen, relevant[chosen])


def _count_relevant(labels: Tensor, item_labels: Tensor) -> Tensor:
    present, counts = item_labels.unique(return_counts=True)
    place = torch.searchsorted(present, labels).clamp(max=len(present) - 1)
    return torch.where(present[place] == labels, counts[place], 0)


def _check(
    queries: Tensor,
    labels: Tensor,
    items: Tensor,
    item_labels: Tensor,
    recalls: Sequence[int],
    given: tuple[bool, bool],
) -> None:
    if given[0] != given[1]:
        raise ValueError("gallery and gallery_labels belong together; give both or neither")
    for name, vectors, ids in (("queries", queries, labels), ("gallery", items, item_labels)):
        if vectors.ndim != 2 or ids.shape != vectors.shape[:1]:
            raise ValueError(
                f"{name} must be (item, dim) vectors with (item,) labels, not {tuple(vectors.shape)} with {tuple(ids.shape)}"
            )
        if ids.is_floating_point():
            raise ValueError(f"{name} labels are {ids.dtype}; floats collide above 2**24, so give int64")
    if not recalls or min(recalls) < 1 or max(recalls) > MOST_RANK or len(set(recalls)) < len(recalls):
        raise ValueError(f"recalls {tuple(recalls)} must be one or more different ranks of 1 to {MOST_RANK:,}")
