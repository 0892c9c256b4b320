"""Whether two benchmarks rank the same losses in the same order, also benchmarks of other studies."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np

from pairlens.comparison.findings import RankAgreement
from pairlens.comparison.rank_correlation import LEAST_VALUES, kendall_estimate, spearman_estimate
from pairlens.comparison.results import BenchmarkResult, read_results
from pairlens.core.records import require
from pairlens.core.untrusted import read_text

COLUMNS = ("benchmark", "metric", "loss", "mean", "half_interval", "seeds")


@dataclass(frozen=True)
class RankedLosses:
    """The losses of one benchmark with their means.

    Attributes:
        name: the benchmark.
        metric: the metric by which its losses are ranked.
        means: by the name of the loss, its mean over seeds; without the control, which is no loss.
        errors: by the name of the loss, the standard error of that mean; losses with one seed have none.
    """

    name: str
    metric: str
    means: dict[str, float]
    errors: dict[str, float]

    @classmethod
    def of(cls, result: BenchmarkResult) -> "RankedLosses":
        """Return the losses of a measured benchmark."""
        found = {loss.name: loss.metric(result.metric).over_seeds for loss in result.losses if not loss.is_control}
        means = {name: interval.mean for name, interval in found.items()}
        # A damaged file may hold any finite numbers; their squares may be infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            errors = {
                name: float(np.std(interval.values, ddof=1)) / math.sqrt(len(interval.values))
                for name, interval in found.items()
                if len(interval.values) > 1
            }
        return cls(result.name, result.metric, means, errors)

    def reliability(self, losses: Sequence[str]) -> float | None:
        """Return the share of the variance of these means that is not variance over seeds; None if that is unknown."""
        if not all(name in self.errors for name in losses):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(np.var([self.means[name] for name in losses], ddof=1))
            chance = float(np.mean(np.square([self.errors[name] for name in losses])))
        is_known = total > 0 and math.isfinite(total) and math.isfinite(chance)
        return max(1 - chance / total, 0.0) if is_known else None


def agreement_of(first: RankedLosses, second: RankedLosses) -> RankAgreement | None:
    """Return the rank correlations of the losses that two benchmarks have in common; None for fewer than three.

    The losses are the independent pairs. The mean of each contains its own variation over seeds, so the interval over the
    losses contains both; variation that all losses share, as that of the test classes, does not change a rank. Variation
    over seeds lowers the correlation of means, by about √(reliability of the first · reliability of the second)
    (Spearman, American Journal of Psychology 15, 1904), which is stated as the limit.
    """
    losses = [name for name in sorted(first.means, key=lambda name: -first.means[name]) if name in second.means]
    if len(losses) < LEAST_VALUES:
        return None
    one, other = ([ranked.means[name] for name in losses] for ranked in (first, second))
    spearman, kendall = spearman_estimate(one, other), kendall_estimate(one, other)
    # Losses with equal means have no order.
    if math.isnan(spearman.value):
        return None
    known = [reliability for ranked in (first, second) if (reliability := ranked.reliability(losses)) is not None]
    limit = math.sqrt(known[0] * known[1]) if len(known) == 2 else None
    return RankAgreement(first.name, second.name, first.metric, tuple(losses), spearman, kendall, limit)


def agreements_of(ranked: Sequence[RankedLosses]) -> tuple[RankAgreement, ...]:
    """Return the agreement of every two benchmarks."""
    pairs = [agreement_of(first, second) for first, second in combinations(ranked, 2)]
    return tuple(pair for pair in pairs if pair is not None)


def read_ranked_losses(place: Path) -> list[RankedLosses]:
    """Read the means of another study: the folder of a comparison, its results.json, or a CSV file.

    A CSV file serves for a table whose runs are gone. Its columns are benchmark, metric, loss, mean, half_interval (half of
    the 95 % t-interval over seeds; may be empty) and seeds.

    Raises:
        ValueError: if there is no such file, or it is damaged.
    """
    if place.suffix == ".csv":
        return _read_csv(place)
    folder = place if place.is_dir() else place.parent
    try:
        return [RankedLosses.of(result) for result in read_results(folder).fields]
    except KeyError as error:
        raise ValueError(
            f"{folder}: {error.args[0]}; write its results again with pairlens compare --resume"
        ) from error


def _read_csv(file: Path) -> list[RankedLosses]:
    rows = csv.DictReader(StringIO(read_text(file)), strict=True)
    ranked: dict[str, RankedLosses] = {}
    try:
        require(tuple(rows.fieldnames or ()) == COLUMNS, f"its columns must be {', '.join(COLUMNS)}")
        for row in rows:
            require(None not in row and None not in row.values(), "it has not six cells")
            one = ranked.setdefault(row["benchmark"], RankedLosses(row["benchmark"], row["metric"], {}, {}))
            one.means[row["loss"]] = _finite(row["mean"])
            if row["half_interval"]:
                one.errors[row["loss"]] = _standard_error(_finite(row["half_interval"]), int(row["seeds"]))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{file}, line {rows.line_num}: {error}; correct it there") from error
    return list(ranked.values())


def _finite(text: str) -> float:
    number = float(text)
    require(math.isfinite(number), f"{text} is not a finite number")
    return number


def _standard_error(half_interval: float, seeds: int) -> float:
    from scipy import stats

    require(seeds > 1, "an interval over seeds needs two seeds or more")
    return half_interval / float(stats.t.ppf(0.975, seeds - 1))
