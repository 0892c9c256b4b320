"""What a comparison found, as records: means with intervals, paired differences, learning curves, costs."""

import json
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.files import write_text
from pairlens.core.records import from_plain, to_plain
from pairlens.core.untrusted import read_json
from pairlens.evaluation.intervals import Interval

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Measured:
    """A metric of one loss in one field.

    Attributes:
        name: R@k, P@k, R-Precision or MAP@R.
        over_seeds: mean and 95 % t-interval over the seeds, as shares.
        class_low: lower end of the 95 % interval of the mean over seeds when the test classes are drawn anew (bootstrap).
        class_high: its upper end.
    """

    name: str
    over_seeds: Interval
    class_low: float
    class_high: float


@dataclass(frozen=True)
class LossResult:
    """What one loss came to in one field.

    Attributes:
        name: what to call the loss.
        loss: the loss with its hyper-parameters, as text.
        settings: what tuning chose beside the loss, as text; empty if nothing was tuned.
        metrics: of the kept epoch.
        curve: the first metric after every epoch, from 0 (untrained).
        mean_s_p: mean cosine of positive test pairs at the end.
        mean_s_n: of negative ones.
        seconds: of a whole run, training and evaluation.
        seeds: which seeds are finished.
        runs: the folders of these runs, relative to the comparison.
        failed: seeds whose run ended because the loss became infinite or NaN, with what was said.
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

    def metric(self, name: str) -> Measured:
        """Return a metric by its name; KeyError if it was not measured."""
        for measured in self.metrics:
            if measured.name == name:
                return measured
        raise KeyError(f"no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}")


@dataclass(frozen=True)
class Difference:
    """How much better `first` is than `second` by one metric, paired over the seeds that both have.

    Attributes:
        over_seeds: mean and t-interval of the differences, as shares, at the field's level.
        class_low: lower end of the interval of the mean difference when the test classes are drawn anew, same level.
        class_high: its upper end.
        distinguishable: whether both intervals lie on one side of 0.
    """

    metric: str
    first: str
    second: str
    over_seeds: Interval
    class_low: float
    class_high: float
    distinguishable: bool


@dataclass(frozen=True)
class BenchmarkResult:
    """One field: all losses under the same settings on the same data.

    Attributes:
        name: of the field.
        data_name: the data set.
        classes: how many test classes.
        queries: how many queries.
        metric: by which losses are ranked.
        level: confidence of each interval of a difference, so that all of the field hold together with 95 %.
        untrained: the ranking metric of the untrained model over the seeds.
        losses: best first.
        differences: of all pairs, the better one first.
        missing: runs that are not finished.
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

    def difference(self, first: str, second: str) -> Difference:
        """Return how two losses differ, whichever is the better; KeyError if they were not compared."""
        for one in self.differences:
            if {one.first, one.second} == {first, second}:
                return one
        raise KeyError(f"{first} and {second} were not compared in {self.name}")


@dataclass(frozen=True)
class Results:
    """What a comparison found, a field at a time."""

    fields: tuple[BenchmarkResult, ...]


def write_results(results: Results, folder: Path) -> Path:
    """Write the results as JSON, whole or not at all; returns the file."""
    file = folder / RESULTS_FILE
    write_text(file, json.dumps(to_plain(results), indent=1) + "\n")
    return file


def read_results(folder: Path) -> Results:
    """Read the results of a comparison; raises ValueError if there are none or they are damaged."""
    file = folder / RESULTS_FILE
    if not file.is_file():
        raise ValueError(f"{folder} is not the folder of a comparison with results: it has no {file.name}")
    try:
        found = read_json(file)
    except ValueError as error:
        raise ValueError(
            f"{file} is damaged ({error}); run pairlens compare --resume {folder} to write it anew"
        ) from error
    return from_plain(Results, found, str(file))
