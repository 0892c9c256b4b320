"""Records of a comparison's results: means with intervals, paired differences, learning curves, costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pairlens.comparison.controls import is_control
from pairlens.comparison.findings import Findings
from pairlens.core.files import write_text
from pairlens.core.records import from_plain, require, to_plain
from pairlens.core.untrusted import read_json
from pairlens.evaluation.evaluate import SeenClasses
from pairlens.evaluation.intervals import Interval
from pairlens.evaluation.metric_definitions import MAX_DECIMALS
from pairlens.evaluation.metrics import suggest_metric
from pairlens.experiments.outcome import BEFORE_TRAINING

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Measured:
    """A metric of one loss on one benchmark.

    Attributes:
        name: R@k, P@k, R-Precision, MAP@R, or the name of a further metric.
        over_seeds: mean and 95 % t-interval over the seeds; values from 0 to 1.
        class_low: lower end of the 95 % interval over test classes: the mean over seeds, with the classes resampled
            (bootstrap).
        class_high: upper end of the same interval.
        decimals: number of decimals that tables show of the percentage.
    """

    name: str
    over_seeds: Interval
    class_low: float
    class_high: float
    decimals: int = field(default=1, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        # A stored file could otherwise ask for a text of any length.
        require(
            0 <= self.decimals <= MAX_DECIMALS, f"the metric {self.name[:60]} must have 0 to {MAX_DECIMALS} decimals"
        )


@dataclass(frozen=True)
class LossResult:
    """The results of one loss on one benchmark.

    Attributes:
        name: the name of the loss in tables and figures.
        loss: the loss with its hyper-parameters, as text.
        settings: the settings beside the loss that tuning chose, as text; empty if nothing was tuned.
        metrics: the metrics of the selected epoch.
        curve: the ranking metric after every epoch of `evaluated_epochs`; the first value is the model before training.
        mean_s_p: mean cosine of the positive test pairs, of the selected epoch.
        mean_s_n: mean cosine of the negative test pairs, of the selected epoch.
        seconds: duration of a whole run, training and evaluation.
        seeds: the seeds whose runs are finished.
        runs: the folders of these runs, relative to the folder of the comparison.
        failed: for each seed whose run ended because the loss became infinite or NaN, the error message.
        epochs: the epochs of `curve`; empty in older files, whose runs were evaluated after every epoch.
    """

    name: str
    loss: str
    settings: str
    metrics: tuple[Measured, ...]
    curve: tuple[Interval, ...]
    mean_s_p: Interval | None
    mean_s_n: Interval | None
    seconds: Interval
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    failed: tuple[str, ...] = ()
    epochs: tuple[int, ...] = field(default=(), metadata={"omit_default": True})

    def __post_init__(self) -> None:
        require(
            len(self.epochs) in (0, len(self.curve)), f"{self.name[:60]} has a curve and epochs of different lengths"
        )

    @property
    def evaluated_epochs(self) -> Sequence[int]:
        """The epochs after which the ranking metric was measured; 0 is before training."""
        return self.epochs or range(len(self.curve))

    @property
    def is_control(self) -> bool:
        """Whether it is the control without a pairwise loss, which stands beside the losses and is none of them."""
        return is_control(self.loss)

    def metric(self, name: str) -> Measured:
        """Return a metric by its name; KeyError if it was not measured."""
        # There are about ten metrics, too few for an index.
        for measured in self.metrics:
            if measured.name == name:
                return measured
        raise KeyError(f"there is no metric {name!r}; {suggest_metric(name, [metric.name for metric in self.metrics])}")


@dataclass(frozen=True)
class FailedLoss:
    """A loss that has no result on a benchmark.

    Attributes:
        name: its name.
        messages: the error message of each seed.
    """

    name: str
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """By how much `first` is better than `second` in one metric, paired over the seeds that both have.

    Attributes:
        metric: the name of the metric.
        first: the name of the loss with the higher mean over these seeds.
        second: the name of the other loss.
        over_seeds: mean and t-interval of the differences (of values from 0 to 1), at the level of the benchmark.
        class_low: lower end of the interval over test classes (bootstrap of the classes), at the same level.
        class_high: upper end of the same interval.
        distinguishable: whether both intervals lie above 0, and there are several test classes.
    """

    metric: str
    first: str
    second: str
    over_seeds: Interval
    class_low: float
    class_high: float
    distinguishable: bool


@dataclass(frozen=True)
class BaselineResult:
    """What the losses are compared with.

    Attributes:
        name: such as "pretrained backbone", "pretrained backbone, whiten" or "before training".
        metrics: each metric over the seeds.
    """

    name: str
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class PostResult:
    """A loss, or the backbone as it comes, measured after post-processing.

    Attributes:
        name: of the loss or the backbone.
        metrics: the standard metrics.
        over_seeds: what the ranking metric gains, after minus before, of the same runs; mean and 95 % t-interval.
        class_low: lower end of the 95 % interval of this gain over the test classes (bootstrap).
        class_high: upper end of the same interval.
        seeds: the seeds of these runs, which may be fewer than those of the loss; empty in older files.
    """

    name: str
    metrics: tuple[Measured, ...]
    over_seeds: Interval
    class_low: float
    class_high: float
    seeds: tuple[int, ...] = field(default=(), metadata={"omit_default": True})

    def metric(self, name: str) -> Measured:
        """Return a metric by its name; KeyError if it was not measured."""
        return {measured.name: measured for measured in self.metrics}[name]


@dataclass(frozen=True)
class BenchmarkResult:
    """The results of all losses on one benchmark: the same data and the same settings.

    Attributes:
        name: the name of the benchmark.
        data_name: the data set.
        classes: number of test classes.
        queries: number of queries.
        metric: the metric by which the losses are ranked.
        level: confidence of the interval of each difference, such that those of the truly best loss with each of the
            others hold together with 95 %; see `comparison.verdicts.verdict`.
        untrained: the ranking metric of the model before training, over the seeds.
        losses: one result per loss, the highest mean first.
        differences: one per pair of losses, the one with the higher mean first.
        missing: number of runs that are not finished.
        baseline: the ranking metric of the backbone as it comes, over the seeds; None if a run lacks it, as in version 0.1.
        baseline_name: its name, such as "pretrained backbone".
        seen_classes: how many of the test classes are training classes.
        one_class: whether all test photos are of one class, so that every figure is 100 % by construction.
        baseline_results: every metric of the baselines, of the backbone as it comes also after post-processing.
        post_name: what post-processing does, in words; empty if the study does not ask for it.
        post: the losses after post-processing in the order of `losses`, and the backbone as it comes.
        failed_losses: the losses that have no result, because they became infinite or NaN with every seed.
    """

    name: str
    data_name: str
    classes: int
    queries: int
    metric: str
    level: float
    untrained: Interval
    losses: tuple[LossResult, ...]
    differences: tuple[Difference, ...]
    missing: int = 0
    seen_classes: SeenClasses = field(default="none", metadata={"omit_default": True})
    baseline: Interval | None = None
    baseline_name: str = ""
    one_class: bool = field(default=False, metadata={"omit_default": True})
    baseline_results: tuple[BaselineResult, ...] = field(default=(), metadata={"omit_default": True})
    post_name: str = field(default="", metadata={"omit_default": True})
    post: tuple[PostResult, ...] = field(default=(), metadata={"omit_default": True})
    failed_losses: tuple[FailedLoss, ...] = field(default=(), metadata={"omit_default": True})

    @property
    def baselines(self) -> list[tuple[str, Interval]]:
        """What the losses are compared with, by name: the backbone as it comes, if it was measured, and before training."""
        plain = [] if self.baseline is None else [(self.baseline_name, self.baseline)]
        return [*plain, (BEFORE_TRAINING, self.untrained)]

    @property
    def better_baseline(self) -> tuple[str, Interval]:
        """The baseline with the higher mean, by name."""
        return max(self.baselines, key=lambda named: named[1].mean)

    def difference(self, first: str, second: str) -> Difference:
        """Return the difference of two losses, given in either order; KeyError if they were not compared."""
        for difference in self.differences:
            if {difference.first, difference.second} == {first, second}:
                return difference
        raise KeyError(f"{first} and {second} were not compared on {self.name}")


@dataclass(frozen=True)
class Results:
    """The results of a comparison.

    Attributes:
        fields: one record per benchmark; stored files have this key from the time when a benchmark was called a field.
        findings: what the study shows as a whole; empty in files of form 1, which did not have it.
        failed: the names of benchmarks without a record, because every loss became infinite or NaN with every seed.
    """

    VERSION: ClassVar[int] = 2

    fields: tuple[BenchmarkResult, ...]
    findings: Findings = field(default_factory=Findings)
    failed: tuple[str, ...] = field(default=(), metadata={"omit_default": True})

    @classmethod
    def upgrade(cls, data: dict[str, Any], version: int, where: str) -> dict[str, Any]:
        """Return the present form of results that were stored in form 1, which has no findings."""
        return data


def write_results(results: Results, folder: Path) -> Path:
    """Write the results as JSON in one atomic step; returns the file."""
    file = folder / RESULTS_FILE
    write_text(file, json.dumps(to_plain(results), indent=1) + "\n")
    return file


def read_results(folder: Path) -> Results:
    """Read the results of a comparison; raises ValueError if there are none or the file is damaged."""
    file = folder / RESULTS_FILE
    if not file.is_file():
        raise ValueError(f"{folder} is not the folder of a comparison with results: it has no {file.name}")
    try:
        plain = read_json(file)
    except ValueError as error:
        raise ValueError(
            f"{file} is damaged ({error}); run pairlens compare --resume {folder} to write it again"
        ) from error
    return from_plain(Results, plain, str(file))
