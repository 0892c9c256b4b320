"""Evaluation of retrieval: every metric from one search, with its interval over the query classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairlens.core.table import decimal
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.per_query import QueryValues, measure_queries
from pairlens.neighbors.approximate import Approximation, IndexKind

RESAMPLES = 1000


@dataclass(frozen=True)
class Metric:
    """A mean over queries with its 95 % interval.

    Attributes:
        name: R@k, P@k, R-Precision or MAP@R.
        value: mean, 0 to 1.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {100 * self.value:.2f} % [{100 * self.low:.2f}, {100 * self.high:.2f}]"


@dataclass(frozen=True)
class Report:
    """The result of an evaluation.

    Attributes:
        metrics: R@k and P@k for each k, R-Precision, MAP@R.
        queries: number of queries that were averaged.
        left_out: number of queries left out because the gallery has no relevant item for them.
        gallery: number of items that were searched.
        classes: number of classes of the averaged queries.
        approximation: what the search missed if it was approximate; None if it was exact.

    >>> import torch
    >>> report = evaluate(torch.eye(4)[[0, 0, 1, 1]], torch.tensor([5, 5, 7, 7]), recalls=(1,))
    >>> report["R@1"], report["MAP@R"]
    (1.0, 1.0)
    """

    metrics: tuple[Metric, ...]
    queries: int
    left_out: int
    gallery: int
    classes: int
    approximation: Approximation | None = None

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric by its name; raises KeyError that names the available metrics."""
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(f"there is no metric {name!r}; available are {', '.join(m.name for m in self.metrics)}")

    def __str__(self) -> str:
        left_out = f", {self.left_out} queries without a relevant item left out" if self.left_out else ""
        head = f"{self.queries} queries of {self.classes} classes against {self.gallery} items{left_out}"
        searched = [] if self.approximation is None else [str(self.approximation)]
        return "\n".join([head, *searched, *map(str, self.metrics)])


def evaluate(
    queries: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray | None = None,
    gallery_labels: Tensor | np.ndarray | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
    index: IndexKind = "exact",
    sharded: bool = False,
) -> Report:
    """Return R@k, P@k, R-Precision and MAP@R of cosine retrieval, from one search in bounded memory.

    Given one set, each item is searched among the others (itself is excluded by its index). Queries without a relevant
    item, which is an item of their class, are left out and counted. Equal similarities are ranked by index. The intervals
    are 95 % percentile intervals of a bootstrap over the query classes, because photos of one class are not independent.

    Args:
        queries: (query, dim) embeddings of any length, as a tensor or a NumPy array of floats of any precision.
        labels: (query,) integers.
        gallery: (item, dim) embeddings, or None to search the queries among themselves.
        gallery_labels: (item,) integers, given with `gallery`.
        recalls: the k of R@k and P@k. For k above the size of the gallery R@k stays constant and P@k decreases.
        index: how to search: "exact"; or, for a million items and more, "ivf" or "hnsw" (or a record `Ivf` or `Hnsw` with
            other settings). These two miss some neighbours; the report states how many, measured on a sample.
        sharded: whether every process of a torch.distributed job calls this with the same arguments. Each process then
            searches its shard of the queries, and all return the report that one process alone would return.

    Raises:
        ValueError: for shapes that do not match, labels that are not integers, k below 1, or no query with a relevant item.
    """
    vectors = _as_tensor(queries)
    items = None if gallery is None else _as_tensor(gallery)
    item_labels = None if gallery_labels is None else _as_tensor(gallery_labels)
    measured = measure_queries(
        vectors, _as_tensor(labels), items, item_labels, recalls=recalls, index=index, sharded=sharded
    )
    return Report(
        metrics=_metrics(measured),
        queries=len(measured.queries),
        left_out=len(queries) - len(measured.queries),
        gallery=len(queries) if gallery is None else len(gallery),
        classes=len(measured.labels.unique()),
        approximation=measured.approximation,
    )


def _as_tensor(values: Tensor | np.ndarray) -> Tensor:
    """Return an array as a tensor; floats of half or of double precision become float32, integers int64."""
    # Copied, because an array may be read-only, and torch warns about those.
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    if tensor.is_floating_point() and tensor.ndim > 1 and not isinstance(values, Tensor):
        return tensor.float()
    # Labels that are floats stay floats, which is an error with a sentence of its own.
    return tensor if tensor.is_floating_point() else tensor.long()


def _metrics(measured: QueryValues) -> tuple[Metric, ...]:
    """Return each mean with its bootstrap interval; all metrics share the resampled classes."""
    # (metric, class), because all metrics are computed on the same resamples of classes.
    by_class = measured.class_sums()
    low, high = class_bootstrap(np.stack(list(by_class.sums.values())), by_class.counts, resamples=RESAMPLES)
    # In float64, so that the mean of many queries is not rounded at each addition.
    means = [float(values.double().cpu().mean()) for values in measured.values.values()]
    return tuple(map(Metric, measured.values, means, low.tolist(), high.tolist()))


def percent(value: float | None) -> str:
    """Return a value from 0 to 1 as percent, with one decimal; a dash for None and NaN.

    >>> percent(0.4567), percent(-0.0001), percent(None)
    ('45.7', '0.0', '-')
    """
    return "-" if value is None or math.isnan(value) else decimal(100 * value)
