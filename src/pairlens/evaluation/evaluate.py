"""Evaluation of retrieval: every metric from one search, with its interval over the query classes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, SupportsIndex, TypeAlias

from pairlens.core.inputs import Numbers, as_labels, as_vectors, as_whole_numbers
from pairlens.core.records import require
from pairlens.core.table import decimal
from pairlens.evaluation.metric_definitions import MAX_DECIMALS, MetricChoice
from pairlens.evaluation.metrics import suggest_metric
from pairlens.evaluation.per_query import QueryValues, measure_queries
from pairlens.neighbors.approximate import Approximation, IndexKind

RESAMPLES = 1000

# How many of the tested classes are training classes.
SeenClasses: TypeAlias = Literal["none", "some", "all"]


def class_words(seen: SeenClasses) -> str:
    """Return what the tested classes are called wherever a figure is shown.

    >>> class_words("none"), class_words("all")
    ('unseen classes', 'classes seen in training')
    """
    match seen:
        case "none":
            return "unseen classes"
        case "some":
            return "classes, some of them seen in training"
        case "all":
            return "classes seen in training"


def counted_classes(classes: int, seen: SeenClasses, one_class: bool = False) -> str:
    """Return the number of tested classes with what they are called; a single one makes every figure meaningless.

    >>> counted_classes(48, "none")
    '48 unseen classes'
    >>> counted_classes(1, "none", one_class=True)
    '1 unseen class (nothing else can be found, so every figure is 100 % by construction)'
    """
    if one_class:
        words = class_words(seen).replace("classes", "class", 1)
        return f"{classes} {words} (nothing else can be found, so every figure is 100 % by construction)"
    return f"{classes} {class_words(seen)}"


def part_titles(seen: SeenClasses) -> tuple[str, str]:
    """Return what training photos and test photos are called where their statistics are side by side.

    >>> part_titles("none"), part_titles("all")
    (('seen classes', 'unseen classes'), ('training photos', 'test photos of classes seen in training'))
    """
    return (
        ("seen classes", "unseen classes")
        if seen == "none"
        else ("training photos", f"test photos of {class_words(seen)}")
    )


@dataclass(frozen=True)
class Metric:
    """A mean over queries or classes with its 95 % interval.

    Attributes:
        name: R@k, P@k, R-Precision, MAP@R, or the name of a further metric.
        value: mean, 0 to 1 for the metrics of Pairlens.
        low: lower end of the interval.
        high: upper end of the interval.
        decimals: number of decimals that tables show of the percentage.
        higher_is_better: whether a higher value is better.
    """

    name: str
    value: float
    low: float
    high: float
    decimals: int = field(default=1, metadata={"omit_default": True})
    higher_is_better: bool = field(default=True, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        # A stored file could otherwise ask for a text of any length.
        require(
            0 <= self.decimals <= MAX_DECIMALS, f"the metric {self.name[:60]} must have 0 to {MAX_DECIMALS} decimals"
        )

    def __str__(self) -> str:
        return f"{self.name} {self.percent(1)} % [{self._percent(self.low, 1)}, {self._percent(self.high, 1)}]"

    def percent(self, more: int = 0) -> str:
        """Return the value in percent, with some decimals more than a table shows.

        >>> Metric("R@1", 0.4567, 0.4, 0.5).percent(), Metric("OPIS", 0.00123, 0.001, 0.002, decimals=3).percent()
        ('45.7', '0.123')
        """
        return self._percent(self.value, more)

    def is_better_than(self, other: "Metric") -> bool:
        """Return whether this value of a metric is better than another one."""
        return self.value > other.value if self.higher_is_better else self.value < other.value

    @property
    def with_interval(self) -> str:
        """The value and its interval in percent, as `45.7 [40.0, 50.0]`."""
        return f"{self._percent(self.value)} [{self._percent(self.low)}, {self._percent(self.high)}]"

    def _percent(self, value: float, more: int = 0) -> str:
        return f"{100 * value:.{self.decimals + more}f}"


@dataclass(frozen=True)
class Report:
    """The result of an evaluation.

    Attributes:
        metrics: R@k and P@k for each k, R-Precision, MAP@R, and then the further metrics that were asked for.
        queries: number of queries that were averaged.
        left_out: number of queries left out because the gallery has no relevant item for them.
        gallery: number of items that were searched.
        classes: number of classes of the averaged queries.
        approximation: what the search missed if it was approximate; None if it was exact.
        seen_classes: how many of the classes are training classes of the model; "none" also where this is not known.
        one_class: whether all items are of one class, so that every figure is 100 % by construction.

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
    seen_classes: SeenClasses = field(default="none", metadata={"omit_default": True})
    one_class: bool = field(default=False, metadata={"omit_default": True})

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric by its name; raises KeyError that names the most similar metric, or all."""
        return self.metric(name).value

    def metric(self, name: str) -> Metric:
        """Return a metric with its interval by its name; raises KeyError that names the most similar metric, or all."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"there is no metric {name!r}; {suggest_metric(name, [metric.name for metric in self.metrics])}")

    def __str__(self) -> str:
        left_out = f", {self.left_out} queries without a relevant item left out" if self.left_out else ""
        head = f"{self.queries} queries of {self.classes} classes against {self.gallery} items{left_out}"
        searched = [] if self.approximation is None else [str(self.approximation)]
        if self.one_class:
            searched.append("all items are of one class, so every figure is 100 % by construction")
        return "\n".join([head, *searched, *map(str, self.metrics)])


def evaluate(
    queries: Numbers,
    labels: Numbers,
    gallery: Numbers | None = None,
    gallery_labels: Numbers | None = None,
    *,
    recalls: SupportsIndex | Iterable[SupportsIndex] = (1, 2, 4, 8),
    metrics: Sequence[MetricChoice] = (),
    index: IndexKind = "exact",
    sharded: bool = False,
) -> Report:
    """Return R@k, P@k, R-Precision and MAP@R of cosine retrieval, and further metrics, from one search in bounded memory.

    Given one set, each item is searched among the others (itself is excluded by its index). Queries without a relevant
    item, which is an item of their class, are left out and counted. Equal similarities are ranked by index. The intervals
    are 95 % percentile intervals of a bootstrap over the query classes, because photos of one class are not independent.

    Args:
        queries: (query, dim) embeddings of any length: a tensor, an array or nested lists of real numbers of any precision.
        labels: (query,) integers or truth values.
        gallery: (item, dim) embeddings, or None to search the queries among themselves.
        gallery_labels: (item,) integers, given with `gallery`.
        recalls: the k of R@k and P@k, one or several. For k above the size of the gallery R@k stays constant and P@k
            decreases.
        metrics: further metrics: names of Pairlens (`map_at_k`, `map_at_10`, `mrr`, `opis`), and definitions of your own
            (`MetricDefinition`, `ClassMetric`).
        index: how to search: "exact"; or, for a million items and more, "ivf" or "hnsw" (or a record `Ivf` or `Hnsw` with
            other settings). These two miss some neighbours; the report states how many, measured on a sample.
        sharded: whether every process of a torch.distributed job calls this with the same arguments. Each process then
            searches its shard of the queries, and all return the report that one process alone would return.

    Raises:
        ValueError: for an argument that is no matrix of real numbers, shapes that do not match, labels that are not
            integers, an empty gallery, k below 1, no query with a relevant item, or a metric that is unknown or does not
            return finite numbers.
    """
    vectors = as_vectors(queries, "queries")
    items = None if gallery is None else as_vectors(gallery, "gallery")
    item_labels = None if gallery_labels is None else as_labels(gallery_labels, "gallery_labels")
    measured = measure_queries(
        *(vectors, as_labels(labels), items, item_labels),
        recalls=as_whole_numbers(recalls, "recalls"),
        metrics=metrics,
        index=index,
        sharded=sharded,
    )
    return summarize(measured, len(vectors), len(vectors if items is None else items))


def summarize(measured: QueryValues, queries: int, gallery: int) -> Report:
    """Return the mean of every metric with its interval.

    Args:
        measured: the values of the queries and classes.
        queries: number of queries, also of those that are left out.
        gallery: number of items that were searched.
    """
    return Report(
        metrics=_metrics(measured),
        queries=len(measured.queries),
        left_out=queries - len(measured.queries),
        gallery=gallery,
        classes=len(measured.labels.unique()),
        approximation=measured.approximation,
        one_class=measured.one_class,
    )


def _metrics(measured: QueryValues) -> tuple[Metric, ...]:
    """Return each mean with its bootstrap interval; all metrics share the resampled classes."""
    values = measured.values | measured.class_values
    intervals = measured.class_sums().intervals(RESAMPLES)
    # In float64, so that the mean of many queries is not rounded at each addition.
    return tuple(
        Metric(d.name, float(values[d.name].double().cpu().mean()), *intervals[d.name], d.decimals, d.higher_is_better)
        for d in measured.definitions
    )


def percent(value: float | None, decimals: int = 1) -> str:
    """Return a value from 0 to 1 as percent; a dash for None and NaN.

    >>> percent(0.4567), percent(-0.0001), percent(None)
    ('45.7', '0.0', '-')
    """
    return "-" if value is None or math.isnan(value) else decimal(100 * value, decimals)
