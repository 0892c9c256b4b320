"""Definitions of metrics: what a metric needs of a search, and which function computes it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.core.untrusted import is_plain_text
from pairlens.evaluation.metrics import map_at_k, map_at_r, precision_at_k, r_precision, recall_at_k, reciprocal_rank
from pairlens.evaluation.pair_scores import PairScores
from pairlens.evaluation.threshold_consistency import opis

MAX_RANK = 1 << 40
MAX_NAME_LENGTH = 60
MAX_DECIMALS = 6
BUILT_IN = ("map_at_k", "mrr", "opis")


@dataclass(frozen=True, eq=False)
class Retrieved:
    """The nearest items of some queries, best first: the argument of the function of a `MetricDefinition`.

    Attributes:
        correct: (query, rank) boolean, True where the item has the label of the query.
        relevant: (query,) R, how many items have the label of the query; at least 1.
        labels: (query,) int64 labels of the queries.
        item_labels: (query, rank) int64 labels of the items.
        scores: (query, rank) cosine similarities.
    """

    correct: Tensor
    relevant: Tensor
    labels: Tensor
    item_labels: Tensor
    scores: Tensor

    def rows(self, index: Tensor) -> "Retrieved":
        """Return the same for some of the queries."""
        return Retrieved(*(getattr(self, f.name)[index] for f in fields(self)))

    def cut(self, ranks: int) -> "Retrieved":
        """Return the same for the first ranks only."""
        return Retrieved(
            self.correct[:, :ranks], self.relevant, self.labels, self.item_labels[:, :ranks], self.scores[:, :ranks]
        )

    def within_r(self) -> "Retrieved":
        """Return the same with `correct` False at the ranks beyond R; ranks beyond the largest R are cut off."""
        cut = self.cut(int(self.relevant.max()))
        # (rank,) < (query, 1) broadcasts to (query, rank).
        within = torch.arange(cut.correct.shape[1], device=cut.correct.device) < cut.relevant[:, None]
        return replace(cut, correct=cut.correct & within)


def not_stored(_: Any) -> Any:
    """Stand for the function of a metric that was read from a file: its name is stored, its function is not."""
    raise ValueError(
        "the function of this metric is not stored with its run; give the metric again, as in "
        "evaluate_run(folder, metrics=[...]) or resume_run(folder, metrics=[...])"
    )


@dataclass(frozen=True)
class MetricDefinition:
    """A metric with one value per query; its mean over the queries is reported with an interval over their classes.

    Attributes:
        name: the name of the metric in tables and files.
        function: a function of `Retrieved` that returns (query,) finite numbers, as a tensor, an array or a list. Tables
            show them as percent, so 1 is shown as 100. The value of a query must not depend on the other queries, which are
            given in chunks.
        ranks: how many of the nearest items the function needs: a number (all items, if there are fewer); "R": the first R
            of each query, where `correct` is False at later ranks; "first": at least all up to the first relevant item; or
            "all": the ranking of all items, which takes the most time.
        decimals: number of decimals that tables show of the percentage.
        higher_is_better: whether a higher value is better.

    Raises:
        ValueError: for a name that a table cannot show, or ranks that are none of these.

    >>> def last_rank(retrieved):
    ...     return 1 - retrieved.correct[:, -1].float()
    >>> MetricDefinition("wrong at 10", last_rank, ranks=10).ranks
    10
    """

    name: str
    function: Callable[[Retrieved], Any] = field(default=not_stored, metadata={"plain": False})
    ranks: int | Literal["R", "first", "all"] = "R"
    decimals: int = 1
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        _check_definition(self)
        numeric = isinstance(self.ranks, int) and not isinstance(self.ranks, bool) and 1 <= self.ranks <= MAX_RANK
        require(
            numeric or self.ranks in ("R", "first", "all"),
            f"the ranks of the metric {self.name} are {self.ranks!r}, but must be a number of 1 to {MAX_RANK:,}, or 'R', "
            "'first' or 'all'",
        )

    def measure(self, retrieved: Retrieved) -> Tensor:
        """Return the (query,) float32 values; raises ValueError if the function returns anything else."""
        return _values(self, retrieved, retrieved.relevant, "query")


@dataclass(frozen=True)
class ClassMetric:
    """A metric with one value per class, from the scores of all pairs; its mean over the classes is reported.

    Attributes:
        name: the name of the metric in tables and files.
        function: a function of `PairScores` that returns (class,) finite numbers.
        decimals: number of decimals that tables show of the percentage.
        higher_is_better: whether a higher value is better.

    Raises:
        ValueError: for a name that a table cannot show.
    """

    name: str
    function: Callable[[PairScores], Any] = field(default=not_stored, metadata={"plain": False})
    decimals: int = 1
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        _check_definition(self)

    def measure(self, pairs: PairScores) -> Tensor:
        """Return the (class,) float32 values; raises ValueError if the function returns anything else."""
        return _values(self, pairs, pairs.classes, "class")


AnyMetric: TypeAlias = MetricDefinition | ClassMetric
# A metric of Pairlens by its name, or the definition of any metric.
MetricChoice: TypeAlias = str | MetricDefinition | ClassMetric


def _check_definition(metric: AnyMetric) -> None:
    name = metric.name
    # Commas and line breaks would break the columns of a CSV file.
    usable = 0 < len(name) <= MAX_NAME_LENGTH and is_plain_text(name) and not set(name) & set(",;|\n\t")
    require(usable, f"a metric is called {name!r}; use 1 to {MAX_NAME_LENGTH} printable characters without , ; or |")
    require(
        0 <= metric.decimals <= MAX_DECIMALS,
        f"the metric {name} has {metric.decimals} decimals; give 0 to {MAX_DECIMALS}",
    )


def _values(metric: AnyMetric, argument: Any, like: Tensor, unit: str) -> Tensor:
    """Return what a metric's function returns, as float32; raises ValueError unless one finite number per `unit`."""
    name = metric.name
    try:
        values = torch.as_tensor(metric.function(argument)).to(like.device, torch.float32)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"the metric {name} raised {type(error).__name__}: {error}") from error
    if values.shape != like.shape:
        raise ValueError(
            f"the metric {name} must return one number per {unit}, of shape {tuple(like.shape)}, not {tuple(values.shape)}"
        )
    if not torch.isfinite(values).all():
        raise ValueError(f"the metric {name} has a value that is not finite; give every {unit} a finite number")
    return values


def standard_metrics(recalls: Sequence[int]) -> tuple[MetricDefinition, ...]:
    """Return R@k and P@k for each k, R-Precision and MAP@R, which every report has.

    >>> [metric.name for metric in standard_metrics((1, 8))]
    ['R@1', 'R@8', 'P@1', 'P@8', 'R-Precision', 'MAP@R']
    """
    return (
        *(MetricDefinition(f"R@{k}", partial(_recall, k=k), k) for k in recalls),
        *(MetricDefinition(f"P@{k}", partial(_precision, k=k), k) for k in recalls),
        MetricDefinition("R-Precision", lambda retrieved: r_precision(retrieved.correct, retrieved.relevant)),
        MetricDefinition("MAP@R", lambda retrieved: map_at_r(retrieved.correct, retrieved.relevant)),
    )


def is_standard(name: str) -> bool:
    """Return whether a metric is one of `standard_metrics`.

    >>> is_standard("R@10"), is_standard("mAP@10")
    (True, False)
    """
    return bool(re.fullmatch(r"[RP]@\d+|R-Precision|MAP@R", name))


def further_metrics(choices: Sequence[MetricChoice], recalls: Sequence[int]) -> tuple[AnyMetric, ...]:
    """Return the definitions of the metrics that were chosen beside the standard ones.

    Args:
        choices: names of metrics of Pairlens, or definitions: `map_at_k` (mAP@k for each k of `recalls`), `map_at_10` (or
            another number), `mrr`, `opis`.
        recalls: the k of R@k and P@k.

    Raises:
        ValueError: for an unknown name, or if two metrics have the same name.

    >>> [metric.name for metric in further_metrics(["map_at_k", "mrr"], (1, 8))]
    ['mAP@1', 'mAP@8', 'MRR']
    """
    require(not isinstance(choices, str), f"metrics is the text {choices!r}; give a list, as in metrics=['mrr']")
    definitions = [definition for choice in choices for definition in _definitions(choice, recalls)]
    names = [definition.name for definition in (*standard_metrics(recalls), *definitions)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    require(repeated is None, f"two metrics are called {repeated}; give each metric once, and a name of its own")
    return tuple(definitions)


def _definitions(choice: MetricChoice, recalls: Sequence[int]) -> list[AnyMetric]:
    if isinstance(choice, MetricDefinition | ClassMetric):
        return [choice]
    name = choice.strip().lower().replace("-", "_") if isinstance(choice, str) else ""
    # `fullmatch` with at most 13 digits, so that a long text of digits is not converted.
    number = re.fullmatch(r"map_at_(\d{1,13})", name)
    if name == "map_at_k" or number:
        ranks = [int(number[1])] if number else recalls
        return [MetricDefinition(f"mAP@{k}", partial(_average_precision, k=k), k) for k in ranks]
    if name == "mrr":
        return [MetricDefinition("MRR", lambda retrieved: reciprocal_rank(retrieved.correct), "first")]
    if name == "opis":
        # Its values are variances, often below 0.01, so one decimal of a percentage would not distinguish models.
        return [ClassMetric("OPIS", opis, decimals=3, higher_is_better=False)]
    raise ValueError(
        f"there is no metric {choice!r}; available are {', '.join(BUILT_IN)} (or map_at_10 for one k); a metric of your own "
        "is module:name on the command line, and a MetricDefinition or ClassMetric in Python"
    )


def _recall(retrieved: Retrieved, k: int) -> Tensor:
    return recall_at_k(retrieved.correct, k)


def _precision(retrieved: Retrieved, k: int) -> Tensor:
    return precision_at_k(retrieved.correct, k)


def _average_precision(retrieved: Retrieved, k: int) -> Tensor:
    return map_at_k(retrieved.correct, retrieved.relevant, k)
