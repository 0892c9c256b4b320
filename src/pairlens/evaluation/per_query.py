"""Retrieval metrics of every query, from one search in bounded memory; several processes can share the queries."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pairlens.core.distributed import gather_rows, rank, world_size
from pairlens.core.similarity import unit
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.metric_definitions import (
    MAX_RANK,
    AnyMetric,
    ClassMetric,
    MetricChoice,
    MetricDefinition,
    Retrieved,
    further_metrics,
    is_standard,
    standard_metrics,
)
from pairlens.evaluation.pair_scores import PairScores
from pairlens.neighbors.approximate import ApproximateIndex, Approximation, IndexKind, open_index
from pairlens.neighbors.exact import ExactIndex, Neighbors

MAX_CHUNK_QUERIES = 4096
# In chunks of a few hundred queries, FAISS takes 1.5 times as long for the same queries.
MIN_CHUNK_QUERIES = 2048
# A set of more than 16 · 2048 queries is cut into at least 16 chunks, so that several processes get equal shares.
MIN_CHUNKS = 16
MAX_CHUNK_BYTES = 2**28
# Memory per neighbour of a query: the candidates of FAISS, scores and indices twice, labels and hits.
BYTES_PER_NEIGHBOR = 64
# A search that did not reach the first relevant item is repeated with this many times more neighbours.
DEEPENING = 4


class SearchIndex(Protocol):
    """Items to be searched."""

    def search(self, queries: Tensor, k: int, /, itself: Tensor | None = None) -> Neighbors:
        """Return the k nearest items of each query, without the item that the query itself is."""
        ...


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Per-query values summed over the queries of each class, which is what a bootstrap over classes needs.

    Attributes:
        sums: (class,) sums by the metric's name; classes in the order of their labels.
        counts: (class,) number of queries of each class.
        class_metrics: names of the metrics that have one value per class, so that their sum is this value.
    """

    sums: dict[str, np.ndarray]
    counts: np.ndarray
    class_metrics: frozenset[str] = frozenset()

    def intervals(self, resamples: int, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Return the interval of the mean of each metric; all metrics share the resampled classes."""
        standard = [name for name in self.sums if is_standard(name)]
        ends: dict[str, tuple[float, float]] = {}
        # The standard metrics come together and each other metric alone, so that the ends of the standard metrics are the
        # same to the last bit whatever else is measured.
        for names in [standard, *([name] for name in self.sums if name not in standard)]:
            sums = np.stack([self.sums[name] for name in names])  # (metric, class)
            low, high = class_bootstrap(sums, self.weights(names[0]), level, resamples)
            ends |= zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)
        return {name: ends[name] for name in self.sums}

    def weights(self, name: str) -> np.ndarray:
        """Return the (class,) number of values in each sum of a metric."""
        return np.ones_like(self.counts) if name in self.class_metrics else self.counts


@dataclass(frozen=True, eq=False)
class QueryValues:
    """Every metric of every query that has a relevant item in the gallery.

    Attributes:
        queries: (query,) positions of these queries in the set that was searched.
        labels: (query,) their classes.
        values: (query,) values by the metric's name.
        approximation: what an approximate search misses; None if the search was exact.
        class_values: (class,) values by the name of each metric that has one value per class, in the order of the labels.
        definitions: the definitions of all metrics, in the order of a report.
        one_class: whether all searched items are of one class, so that nothing wrong could be found.
    """

    queries: Tensor
    labels: Tensor
    values: dict[str, Tensor]
    approximation: Approximation | None = None
    class_values: dict[str, Tensor] = field(default_factory=dict)
    definitions: tuple[AnyMetric, ...] = ()
    one_class: bool = False

    def class_sums(self) -> ClassSums:
        """Return the sums of all metrics over the queries of each class.

        >>> values = measure_queries(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([5, 5, 7, 7]), recalls=(1,))
        >>> values.class_sums().sums["R@1"].tolist(), values.class_sums().counts.tolist()
        ([2.0, 0.0], [2, 2])
        """
        _, inverse = self.labels.cpu().unique(return_inverse=True)
        class_of_query = inverse.numpy()
        sums = {
            name: np.bincount(class_of_query, values.double().cpu().numpy()) for name, values in self.values.items()
        }
        sums |= {name: values.double().cpu().numpy() for name, values in self.class_values.items()}
        return ClassSums(sums, np.bincount(class_of_query), frozenset(self.class_values))


def measure_queries(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
    metrics: Sequence[MetricChoice] = (),
    index: IndexKind = "exact",
    sharded: bool = False,
) -> QueryValues:
    """Return the values of each query that `evaluate` averages; it takes the same arguments and raises the same errors.

    >>> measure_queries(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([5, 5, 7, 7]), recalls=(1,)).values["R@1"]
    tensor([1., 1., 0., 0.])
    """
    task = search_task(queries, labels, gallery, gallery_labels, recalls, metrics)
    # Every rank builds the whole index; only the queries are sharded.
    opened = open_index(task.items, index)
    measured = task.measure(opened, rank(), world_size()) if sharded else task.measure(opened)
    rows, values = (gather_rows(part) for part in measured) if sharded else measured
    # The search went by decreasing R; the result is in the order of the queries.
    order = rows.argsort()
    names = [metric.name for metric in task.query_metrics]
    columns = dict(zip(names, values[order].unbind(dim=1), strict=True))
    pairs = task.pair_scores(rank(), world_size()) if sharded else task.pair_scores()
    class_values = {metric.name: metric.measure(pairs) for metric in task.class_metrics}
    return QueryValues(
        queries=rows[order],
        labels=task.labels[rows[order]],
        values=columns,
        approximation=task.approximation(opened),
        class_values=class_values,
        definitions=task.metrics,
        one_class=len(task.item_labels.unique()) == 1,
    )


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Queries to be searched among items, and how many items are relevant to each.

    Attributes:
        queries: (query, dim).
        labels: (query,).
        items: (item, dim).
        item_labels: (item,).
        one_set: whether the queries are the items, so that each query is left out of its own search.
        recalls: the k of R@k and P@k.
        answerable: (answerable,) positions of the queries that have a relevant item, by decreasing R.
        relevant: (answerable,) R of these queries.
        metrics: what is measured.
    """

    queries: Tensor
    labels: Tensor
    items: Tensor
    item_labels: Tensor
    one_set: bool
    recalls: tuple[int, ...]
    answerable: Tensor
    relevant: Tensor
    metrics: tuple[AnyMetric, ...]

    @property
    def available(self) -> int:
        """How many items a query can find."""
        return len(self.items) - int(self.one_set)

    @property
    def query_metrics(self) -> list[MetricDefinition]:
        """The metrics that have one value per query."""
        return [metric for metric in self.metrics if isinstance(metric, MetricDefinition)]

    @property
    def class_metrics(self) -> list[ClassMetric]:
        """The metrics that have one value per class."""
        return [metric for metric in self.metrics if isinstance(metric, ClassMetric)]

    @property
    def least_depth(self) -> int:
        """The largest number of neighbours that a metric asks for; a query with more relevant items needs R instead."""
        return max(metric.ranks for metric in self.query_metrics if isinstance(metric.ranks, int))

    def pair_scores(self, rank: int = 0, world_size: int = 1) -> PairScores:
        """Return the scores of all pairs of an answerable query and an item, shared by several processes."""
        rows = self.answerable.sort().values
        vectors = unit(self.items.detach()).float()
        queries = vectors if self.one_set else unit(self.queries.detach()).float().to(vectors.device)
        itself = rows if self.one_set else None
        return PairScores(queries[rows], self.labels[rows], vectors, self.item_labels, itself, rank, world_size)

    def measure(self, index: SearchIndex, rank: int = 0, world_size: int = 1) -> tuple[Tensor, Tensor]:
        """Return the positions of the queries that one of several processes has measured, and (query, metric) values.

        The chunks do not depend on the number of processes. So a query is always searched together with the same other
        queries, and its scores are rounded alike on every process.
        """
        chunks = self.chunks()[rank::world_size]
        rows = [self.answerable[chunk] for chunk in chunks]
        values = [self._measure_chunk(index, chunk) for chunk in chunks]
        # A process without a chunk contributes no rows, but of the right shape and type.
        no_values = self.queries.new_zeros(0, len(self.query_metrics), dtype=torch.float32)
        return torch.cat([self.answerable[:0], *rows]), torch.cat([no_values, *values])

    def chunks(self) -> list[slice]:
        """Return the slices of `answerable` that are searched at a time: short ones where R is large."""
        # A query of a class with R items needs max(R, k) neighbours; R decreases, so the first query of a chunk needs most.
        depths = self.relevant.clamp(min=self.least_depth).clamp(max=self.available).tolist()
        max_size = min(MAX_CHUNK_QUERIES, max(MIN_CHUNK_QUERIES, -(-len(depths) // MIN_CHUNKS)))
        chunks, start = [], 0
        while start < len(depths):
            size = max(1, min(max_size, MAX_CHUNK_BYTES // (BYTES_PER_NEIGHBOR * depths[start])))
            chunks.append(slice(start, min(start + size, len(depths))))
            start += size
        return chunks

    def approximation(self, index: ExactIndex | ApproximateIndex) -> Approximation | None:
        """Return what an index misses among the nearest max(recalls) items; None if it is exact."""
        if isinstance(index, ExactIndex):
            return None
        # Sampled in data-set order, not by R, so that evenly spaced queries cover all classes.
        rows = self.answerable.sort().values
        k = min(max(self.recalls), self.available)
        return index.measure(self.queries, k, rows, itself=rows if self.one_set else None)

    def _measure_chunk(self, index: SearchIndex, chunk: slice) -> Tensor:
        """Return the (query, metric) values of the queries of a chunk."""
        positions = torch.arange(chunk.start, chunk.stop, device=self.answerable.device)
        # R decreases, so the first query of the chunk has the largest.
        depth = max(self.least_depth, int(self.relevant[chunk.start]))
        retrieved = self._search(index, positions, depth)
        return torch.stack([self._measure(metric, index, positions, retrieved) for metric in self.query_metrics], dim=1)

    def _search(self, index: SearchIndex, positions: Tensor, depth: int) -> Retrieved:
        """Return the nearest items of the queries at some positions of `answerable`."""
        rows = self.answerable[positions]
        itself = rows if self.one_set else None
        neighbors = index.search(self.queries[rows], min(depth, self.available), itself=itself)
        item_labels = self.item_labels[neighbors.indices]  # (query, rank)
        correct = item_labels == self.labels[rows, None]
        return Retrieved(correct, self.relevant[positions], self.labels[rows], item_labels, neighbors.scores)

    def _measure(self, metric: MetricDefinition, index: SearchIndex, positions: Tensor, retrieved: Retrieved) -> Tensor:
        """Return the (query,) values of one metric."""
        match metric.ranks:
            case "R":
                return metric.measure(retrieved.within_r())
            case "first" | "all":
                return self._measure_deep(metric, index, positions, retrieved)
            case ranks:
                return metric.measure(retrieved.cut(ranks))

    def _measure_deep(
        self, metric: MetricDefinition, index: SearchIndex, positions: Tensor, retrieved: Retrieved
    ) -> Tensor:
        """Return the (query,) values of a metric that may need more neighbours than the search has returned."""
        depth = retrieved.correct.shape[1]
        reached = torch.full_like(positions, depth == self.available, dtype=torch.bool)  # (query,)
        if metric.ranks == "first":
            reached |= retrieved.correct.any(dim=1)
        values = self.queries.new_zeros(len(positions), dtype=torch.float32)
        if reached.any():
            values[reached] = metric.measure(retrieved.rows(reached))
        pending = (~reached).nonzero().squeeze(1)
        depth = min(DEEPENING * depth, self.available) if metric.ranks == "first" else self.available
        # Only the pending queries are searched again, few at a time, because their neighbours take much memory.
        for part in pending.split(max(1, MAX_CHUNK_BYTES // (BYTES_PER_NEIGHBOR * depth))) if len(pending) else ():
            deeper = self._search(index, positions[part], depth)
            values[part] = self._measure_deep(metric, index, positions[part], deeper)
        return values


def search_task(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None,
    gallery_labels: Tensor | None,
    recalls: Sequence[int],
    metrics: Sequence[MetricChoice] = (),
) -> SearchTask:
    """Return the task of measuring these queries; raises ValueError for arguments that do not fit each other."""
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels belong together; give both or neither")
    one_set = gallery is None or gallery_labels is None
    items, item_labels = (queries, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    _check_vectors("queries", queries, labels)
    _check_vectors("gallery", items, item_labels)
    if not recalls or min(recalls) < 1 or max(recalls) > MAX_RANK or len(set(recalls)) < len(recalls):
        raise ValueError(f"recalls {tuple(recalls)} must be one or more different ranks of 1 to {MAX_RANK:,}")
    labels, item_labels = labels.to(queries.device), item_labels.to(queries.device)
    # Within one set a query is an item of its own class, but is not relevant to itself.
    relevant = _count_relevant(labels, item_labels) - int(one_set)
    order = relevant.argsort(descending=True, stable=True)
    answerable = order[: int((relevant > 0).sum())]
    if not len(answerable):
        raise ValueError("no query has another item of its class in the gallery, so nothing can be measured")
    definitions = (*standard_metrics(recalls), *further_metrics(metrics, recalls))
    return SearchTask(
        queries, labels, items, item_labels, one_set, tuple(recalls), answerable, relevant[answerable], definitions
    )


def _count_relevant(labels: Tensor, item_labels: Tensor) -> Tensor:
    classes, counts = item_labels.unique(return_counts=True)
    # A label above all classes would get a position behind the last one.
    position = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
    return torch.where(classes[position] == labels, counts[position], 0)


def _check_vectors(name: str, vectors: Tensor, labels: Tensor) -> None:
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1]:
        shapes = f"{tuple(vectors.shape)} with {tuple(labels.shape)}"
        raise ValueError(f"{name} must be (item, dim) vectors with (item,) labels, not {shapes}")
    if not len(vectors):
        raise ValueError(f"{name} must not be empty, because nothing could be measured; give at least two items")
