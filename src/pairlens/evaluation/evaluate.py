"""How well embeddings retrieve: every metric from one search, with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pairlens.evaluation.per_query import measure_queries
from pairlens.neighbors.approximate import Approximation, IndexKind

RESAMPLES = 1000
RESAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Metric:
    """A mean over queries with its 95 % interval.

    Attributes:
        name: R@k, P@k, R-Precision or MAP@R.
        value: 0 to 1.
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
    """What an evaluation found.

    Attributes:
        metrics: R@k and P@k for each k, R-Precision, MAP@R.
        queries: how many queries the means are over.
        left_out: how many queries had no right item in the gallery and were left out.
        gallery: how many items were searched.
        classes: how many classes the queries are of.
        approximation: what the search missed, if it was approximate; None if it was exact.

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
        """Return the value of a metric by its name; KeyError names those there are."""
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(f"no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}")

    def __str__(self) -> str:
        left_out = f", {self.left_out} queries without a right item left out" if self.left_out else ""
        head = f"{self.queries} queries of {self.classes} classes against {self.gallery} items{left_out}"
        searched = [] if self.approximation is None else [str(self.approximation)]
        return "\n".join([head, *searched, *map(str, self.metrics)])


def evaluate(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
    index: IndexKind = "exact",
    sharded: bool = False,
) -> Report:
    """Return R@k, P@k, R-Precision and MAP@R of cosine retrieval, from one search in bounded memory.

    With one set each item is searched among the others (itself excluded by its index). Queries without any right item
    are left out and counted. Equal similarities rank by index. The intervals are 95 % percentile intervals of a
    bootstrap over the query classes, because the photos of one class are not independent.

    Args:
        queries: (query, dim) embeddings of any length.
        labels: (query,) int64.
        gallery: (item, dim) embeddings, or None to search the queries themselves.
        gallery_labels: (item,) int64, given with `gallery`.
        recalls: the k of R@k and P@k. Beyond the gallery's size R@k stays as it is and P@k falls.
        index: how to search: "exact"; or, for a million items and more, "ivf" or "hnsw" (or a record `Ivf` or `Hnsw` with
            other settings), which miss some neighbours: the report says how many, measured on a sample.
        sharded: whether every process of a torch.distributed job calls this with the same arguments. Each then searches
            its share of the queries, and all get the report that one alone would get.

    Raises:
        ValueError: for shapes that do not fit, labels that are not integers, k below 1, no query with a right item.
    """
    found = measure_queries(queries, labels, gallery, gallery_labels, recalls=recalls, index=index, sharded=sharded)
    chosen = labels[found.queries.to(labels.device)]
    items = len(queries) if gallery is None else len(gallery)
    metrics = _with_intervals(found.values, chosen)
    left_out = len(queries) - len(chosen)
    return Report(metrics, len(chosen), left_out, items, len(chosen.unique()), found.approximation)


def _with_intervals(values: dict[str, Tensor], labels: Tensor) -> tuple[Metric, ...]:
    """Give each mean its bootstrap interval; all metrics see the same resampled classes."""
    _, number = labels.cpu().unique(return_inverse=True)
    columns = [value.double().cpu() for value in values.values()]
    counts = np.bincount(number.numpy()).astype(float)
    sums = np.stack([np.bincount(number.numpy(), column.numpy()) for column in columns], axis=1)
    low, high = np.quantile(_resampled_means(sums, counts), [0.025, 0.975], axis=0)
    means = [float(column.mean()) for column in columns]
    return tuple(map(Metric, values, means, low.tolist(), high.tolist()))


def _resampled_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the (resample, metric) means over classes drawn with replacement, from (class, metric) sums."""
    draw, classes, means = np.random.default_rng(0), len(counts), []
    # Where the classes of each resample start, so that one count serves them all.
    starts = classes * np.arange(RESAMPLES_AT_ONCE)[:, None]
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        chosen = draw.integers(classes, size=(RESAMPLES_AT_ONCE, classes)) + starts
        drawn = np.bincount(chosen.ravel(), minlength=starts.size * classes).reshape(-1, classes).astype(float)
        means.append(drawn @ sums / (drawn @ counts)[:, None])
    return np.concatenate(means)


def percent(value: float | None) -> str:
    """Write a share in percent, a dash for what is not known.

    >>> percent(0.4567), percent(None)
    ('45.7', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"
