"""From the runs of a study to what they say: means over seeds, paired differences, intervals over test classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from pairlens.comparison.results import BenchmarkResult, Difference, LossResult, Measured, Results
from pairlens.comparison.run_study import FAILED_FILE, Plan, is_done
from pairlens.comparison.study import Arm, Benchmark, read_study
from pairlens.comparison.tuning import given
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.intervals import Interval, bonferroni, class_bootstrap, t_interval
from pairlens.evaluation.per_query import measure_queries
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.loss_spec import loss_text
from pairlens.experiments.run_folder import EpochRow, Outcome, RunFolder
from pairlens.losses.protocols import Wrapped


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run.

    Attributes:
        seed: its seed.
        place: its folder.
        outcome: what it came to.
        sums: by metric the (class,) sums over the queries of each test class.
        counts: (class,) how many queries each has.
    """

    seed: int
    place: RunFolder
    outcome: Outcome
    sums: dict[str, np.ndarray]
    counts: np.ndarray

    @property
    def row(self) -> EpochRow:
        """The kept epoch."""
        return next(row for row in self.outcome.rows if row.epoch == self.outcome.epoch)


def measure(folder: Path) -> Results:
    """Return what the finished runs of a comparison say; fields without any are left out.

    Raises:
        ValueError: if the folder is no comparison, or nothing in it is finished.
    """
    plan = Plan(read_study(folder), folder)
    fields = [found for field in plan.study.fields if (found := measure_field(plan, field)) is not None]
    if not fields:
        raise ValueError(f"nothing is finished in {folder} yet; start the comparison again with the same command")
    return Results(tuple(fields))


def measure_field(plan: Plan, field: Benchmark) -> BenchmarkResult | None:
    """Return what the finished runs of one field say; None if there are none."""
    runs = {arm: _finished(plan, field, arm) for arm in plan.study.arms}
    done = {arm: found for arm, found in runs.items() if found}
    if not done:
        return None
    metric = plan.study.metric
    ranked = sorted(done, key=lambda arm: -_mean(done[arm], metric))
    level = bonferroni(len(ranked) - 1)
    first = done[ranked[0]][0]
    every = {run.seed: run for found in done.values() for run in found}
    wanted = field.seeds * len(plan.study.arms)
    return BenchmarkResult(
        name=field.name,
        data_name=field.settings.data_name,
        classes=len(first.counts),
        queries=int(first.counts.sum()),
        metric=metric,
        level=level,
        untrained=t_interval([run.outcome.untrained[metric] for _, run in sorted(every.items())]),
        losses=tuple(_loss_result(plan, field, arm, done[arm]) for arm in ranked),
        differences=_differences(ranked, done, metric, level),
        missing=wanted - sum(is_done(plan.run_folder(*one)) for one in plan.runs(field)),
    )


def _finished(plan: Plan, field: Benchmark, arm: Arm) -> list[FinishedRun]:
    places = [(seed, plan.run_folder(field, arm, seed)) for seed in field.numbers]
    return [_open(seed, p) for seed, p in places if is_done(p) and not (p.path / FAILED_FILE).is_file()]


def _open(seed: int, place: RunFolder) -> FinishedRun:
    gallery = Embeddings.load(place.gallery)
    queries = Embeddings.load(place.queries) if place.queries.is_file() else gallery
    pool = () if queries is gallery else (gallery.vectors, gallery.labels)
    found = measure_queries(queries.vectors, queries.labels, *pool, recalls=place.experiment().recalls)
    _, number = queries.labels[found.queries].unique(return_inverse=True)
    sums = {name: np.bincount(number.numpy(), value.double().numpy()) for name, value in found.values.items()}
    return FinishedRun(seed, place, place.read_outcome(), sums, np.bincount(number.numpy()))


def _mean(runs: Sequence[FinishedRun], metric: str) -> float:
    return float(np.mean([run.row.report[metric] for run in runs]))


def _loss_result(plan: Plan, field: Benchmark, arm: Arm, runs: list[FinishedRun]) -> LossResult:
    experiment = runs[0].place.experiment()
    failures = [plan.run_folder(field, arm, seed).path / FAILED_FILE for seed in field.numbers]
    return LossResult(
        name=arm.name,
        loss=arm.loss if isinstance(experiment.loss, Wrapped) else loss_text(experiment.loss),
        settings=_rates(experiment) if plan.study.tune else "",
        metrics=_measured(runs),
        curve=tuple(
            t_interval([row.report[plan.study.metric] for row in rows])
            for rows in zip(*(run.outcome.rows for run in runs), strict=True)
        ),
        mean_s_p=_known([run.row.mean_s_p for run in runs]),
        mean_s_n=_known([run.row.mean_s_n for run in runs]),
        seconds=t_interval([sum(row.seconds for row in run.outcome.rows) for run in runs]),
        seeds=tuple(run.seed for run in runs),
        runs=tuple(run.place.path.relative_to(plan.folder).as_posix() for run in runs),
        failed=tuple(file.read_text(encoding="utf-8").strip() for file in failures if file.is_file()),
    )


def _rates(experiment: Experiment) -> str:
    rates = {name: value for name, value in given(experiment).items() if name.endswith("learning_rate")}
    return ", ".join(f"{name} {value:.2g}" for name, value in rates.items())


def _known(values: list[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return t_interval(known) if known else None


def _measured(runs: list[FinishedRun]) -> tuple[Measured, ...]:
    names = [metric.name for metric in runs[0].row.report.metrics]
    sums = np.stack([np.mean([run.sums[name] for run in runs], axis=0) for name in names])
    low, high = class_bootstrap(sums, runs[0].counts)
    return tuple(
        Measured(name, t_interval([run.row.report[name] for run in runs]), float(lo), float(hi))
        for name, lo, hi in zip(names, low, high, strict=True)
    )


def _differences(
    ranked: list[Arm], done: dict[Arm, list[FinishedRun]], metric: str, level: float
) -> tuple[Difference, ...]:
    pairs = [(a, b, both) for a, b in combinations(ranked, 2) if (both := _paired(done[a], done[b]))]
    if not pairs:
        return ()
    sums = np.stack([np.mean([x.sums[metric] - y.sums[metric] for x, y in both], axis=0) for _, _, both in pairs])
    low, high = class_bootstrap(sums, pairs[0][2][0][0].counts, level)
    return tuple(
        _difference(
            a, b, metric, t_interval([x.row.report[metric] - y.row.report[metric] for x, y in both], level), ends
        )
        for (a, b, both), *ends in zip(pairs, low.tolist(), high.tolist(), strict=True)
    )


def _paired(first: list[FinishedRun], second: list[FinishedRun]) -> list[tuple[FinishedRun, FinishedRun]]:
    others = {run.seed: run for run in second}
    return [(run, others[run.seed]) for run in first if run.seed in others]


def _difference(first: Arm, second: Arm, metric: str, over_seeds: Interval, ends: list[float]) -> Difference:
    low, high = ends
    apart = over_seeds.excludes_zero and over_seeds.mean * low > 0 and over_seeds.mean * high > 0
    return Difference(metric, first.name, second.name, over_seeds, low, high, apart)
