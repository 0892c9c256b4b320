"""How well embeddings retrieve: every metric from one search, with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairlens.core.neighbors import ExactIndex
from pairlens.evaluation.metrics import map_at_r, precision_at_k, r_precision, recall_at_k

QUERIES_AT_ONCE = 4096
RESAMPLES = 1000


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

    >>> report = evaluate(torch.eye(4)[[0, 0, 1, 1]], torch.tensor([5, 5, 7, 7]), recalls=(1,))
    >>> report["R@1"], report["MAP@R"]
    (1.0, 1.0)
    """

    metrics: tuple[Metric, ...]
    queries: int
    left_out: int
    gallery: int
    classes: int

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric by its name; KeyError names those there are."""
        for metric in self.metrics:
            if metric.name == name:
                return metric.value
        raise KeyError(f"no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}")

    def __str__(self) -> str:
        left_out = f", {self.left_out} queries without a right item left out" if self.left_out else ""
        head = f"{self.queries} queries of {self.classes} classes against {self.gallery} items{left_out}"
        return "\n".join([head, *map(str, self.metrics)])


def evaluate(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
) -> Report:
    """Return R@k, P@k, R-Precision and MAP@R of cosine retrieval, from one exact search in bounded memory.

    With one set each item is searched among the others (itself excluded by its index). Queries without any right item
    are left out and counted. Equal similarities rank by index. The intervals are 95 % percentile intervals of a
    bootstrap over the query classes, because the photos of one class are not independent.

    Args:
        queries: (query, dim) embeddings of any length.
        labels: (query,) int64.
        gallery: (item, dim) embeddings, or None to search the queries themselves.
        gallery_labels: (item,) int64, given with `gallery`.
        recalls: the k of R@k and P@k. Beyond the gallery's size R@k stays as it is and P@k falls.

    Raises:
        ValueError: for shapes that do not fit, labels that are not integers, k below 1, no query with a right item.
    """
    found = measure_queries(queries, labels, gallery, gallery_labels, recalls=recalls)
    chosen = labels[found.queries]
    items = len(queries) if gallery is None else len(gallery)
    metrics = _with_intervals(found.values, chosen)
    return Report(metrics, len(chosen), len(queries) - len(chosen), items, len(chosen.unique()))


@dataclass(frozen=True, eq=False)
class QueryValues:
    """Every metric of every query that has a right item.

    Attributes:
        queries: (query,) which queries these are.
        values: (query,) values by the metric's name.
    """

    queries: Tensor
    values: dict[str, Tensor]


def measure_queries(
    queries: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    recalls: Sequence[int] = (1, 2, 4, 8),
) -> QueryValues:
    """Return what `evaluate` takes the means of, query by query; arguments and errors are its own.

    >>> measure_queries(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([5, 5, 7, 7]), recalls=(1,)).values["R@1"]
    tensor([1., 1., 0., 0.])
    """
    one_set = gallery is None
    items, item_labels = (queries, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    _check(queries, labels, items, item_labels, recalls, given=(gallery is None, gallery_labels is None))
    relevant = _count_relevant(labels, item_labels) - int(one_set)
    chosen = (relevant > 0).nonzero().squeeze(1)
    if not len(chosen):
        raise ValueError("no query has another item of its class in the gallery, so nothing can be measured")
    most = min(max(*recalls, int(relevant.max())), len(items) - one_set)
    index = ExactIndex(items)
    values = {name: [] for name in _names(recalls)}
    for rows in chosen.split(QUERIES_AT_ONCE):
        found = index.search(queries[rows], most, itself=rows if one_set else None)
        hits = item_labels[found.indices] == labels[rows, None]
        for name, value in zip(values, _measure(hits, relevant[rows], recalls), strict=True):
            values[name].append(value)
    return QueryValues(chosen, {name: torch.cat(parts) for name, parts in values.items()})


def _names(recalls: Sequence[int]) -> list[str]:
    return [f"R@{k}" for k in recalls] + [f"P@{k}" for k in recalls] + ["R-Precision", "MAP@R"]


def _measure(hits: Tensor, relevant: Tensor, recalls: Sequence[int]) -> list[Tensor]:
    at_k = [recall_at_k(hits, k) for k in recalls] + [precision_at_k(hits, k) for k in recalls]
    return [*at_k, r_precision(hits, relevant), map_at_r(hits, relevant)]


def _count_relevant(labels: Tensor, item_labels: Tensor) -> Tensor:
    present, counts = item_labels.unique(return_counts=True)
    place = torch.searchsorted(present, labels).clamp(max=len(present) - 1)
    return torch.where(present[place] == labels, counts[place], 0)


def _with_intervals(values: dict[str, Tensor], labels: Tensor) -> tuple[Metric, ...]:
    """Give each mean its bootstrap interval; all metrics see the same resampled classes."""
    _, number = labels.cpu().unique(return_inverse=True)
    counts = np.bincount(number.numpy()).astype(float)
    drawn = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    weight = drawn @ counts
    metrics = []
    for name, value in values.items():
        value = value.double().cpu()
        sums = np.bincount(number.numpy(), value.numpy())
        low, high = np.quantile(drawn @ sums / weight, [0.025, 0.975])
        metrics.append(Metric(name, float(value.mean()), float(low), float(high)))
    return tuple(metrics)


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
    if not recalls or min(recalls) < 1 or len(set(recalls)) < len(recalls):
        raise ValueError(f"recalls {tuple(recalls)} must be one or more different ranks of at least 1")
