"""Records of what a whole study shows: where its variance comes from, whether benchmarks agree, what predicts a run."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pairlens.evaluation.intervals import Interval

# What a measurement of a run is taken from; one that needs the classes of the test photos predicts nothing.
SourceOfMeasurement: TypeAlias = Literal["training photos", "test photos without their classes", "test classes"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower end; None if the data do not allow an interval.
        high: upper end; None if the data do not allow an interval.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class VarianceRow:
    """One source of variance.

    Attributes:
        source: what varies.
        deviation: its standard deviation, in the unit of the metric (0 to 1).
        share: its part of the variance of one run, 0 to 1.
        is_negative: whether the unbiased estimate of its variance is below 0, in which case 0 is shown.
    """

    source: str
    deviation: Estimate
    share: Estimate
    is_negative: bool = field(default=False, metadata={"omit_default": True})


@dataclass(frozen=True)
class VarianceTable:
    """The variance of a metric, divided among its sources.

    Attributes:
        name: the benchmark, or what the benchmarks have in common.
        metric: the metric.
        design: what was measured, in words: how many losses, seeds, settings, folds.
        rows: the sources; empty if the variance cannot be divided.
        left_out: number of finished runs that are not part of the complete design.
        reason: why there are no rows; empty if there are.
    """

    name: str
    metric: str
    design: str
    rows: tuple[VarianceRow, ...]
    left_out: int = 0
    reason: str = field(default="", metadata={"omit_default": True})


@dataclass(frozen=True)
class RankAgreement:
    """How far two benchmarks rank the same losses in the same order.

    Attributes:
        first: one benchmark.
        second: the other benchmark.
        metric: the metric of the first benchmark; both rank by their own.
        losses: the losses that both have, best first on the first benchmark.
        spearman: Spearman's rank correlation of the means.
        kendall: Kendall's tau-b of the means.
        limit: the correlation of the means that two benchmarks with the same true order can be expected to reach, given
            how much the means vary over seeds; None if that is unknown.
    """

    first: str
    second: str
    metric: str
    losses: tuple[str, ...]
    spearman: Estimate
    kendall: Estimate
    limit: float | None = None


@dataclass(frozen=True)
class Prediction:
    """How well a measurement of a run predicts its test metric, as rank correlations.

    Attributes:
        benchmark: the benchmark.
        measurement: what was measured.
        source: what the measurement is taken from.
        over_runs: Spearman's correlation over all runs; the interval is a jackknife over losses.
        within_losses: mean over the losses of Spearman's correlation over the seeds of one loss; None if it is constant
            within each loss, or there are fewer than three seeds.
        runs: number of runs.
        losses: number of losses.
    """

    benchmark: str
    measurement: str
    source: SourceOfMeasurement
    over_runs: Estimate
    within_losses: Estimate | None
    runs: int
    losses: int

    @property
    def is_predictor(self) -> bool:
        """Whether the measurement could be used to choose a run without looking at the classes of the test photos."""
        return self.source != "test classes"


@dataclass(frozen=True)
class Contribution:
    """How much one part of the training contributes to the ranking metric.

    Attributes:
        benchmark: the benchmark.
        part: the part, such as "auxiliary loss".
        compared: what was subtracted from what; a single name for a level.
        points: the paired differences over seeds (values from 0 to 1), or the level.
        is_level: whether it is the level from which the differences start, and not a difference.
        class_low: lower end of the 95 % interval over test classes (bootstrap); None if that was not measured.
        class_high: upper end of the same interval.
    """

    benchmark: str
    part: str
    compared: str
    points: Interval
    is_level: bool = field(default=False, metadata={"omit_default": True})
    class_low: float | None = None
    class_high: float | None = None

    @property
    def varies(self) -> bool:
        """Whether it differs between seeds, as everything that was trained does."""
        return len(set(self.points.values)) > 1


@dataclass(frozen=True)
class Findings:
    """What a whole study shows beyond the ranking of the losses."""

    variance: tuple[VarianceTable, ...] = ()
    agreements: tuple[RankAgreement, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    contributions: tuple[Contribution, ...] = ()
