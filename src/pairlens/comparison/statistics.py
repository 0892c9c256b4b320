"""Statistics of a study's runs: means over seeds, paired differences, intervals over test classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from pairlens.comparison.baseline_results import baseline_results, post_results
from pairlens.comparison.finished_run import FinishedRun
from pairlens.comparison.results import BenchmarkResult, Difference, FailedLoss, LossResult, Measured, Results
from pairlens.comparison.study import Arm, Benchmark
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_findings import findings_of
from pairlens.comparison.study_plan import FAILED_FILE, Plan, is_done
from pairlens.comparison.tuning import tunable_values
from pairlens.core.untrusted import read_text
from pairlens.evaluation.intervals import RESAMPLES, Interval, bonferroni, class_bootstrap, t_interval
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.experiment import Experiment
from pairlens.losses.loss_text import can_be_typed, loss_text


@dataclass(frozen=True, eq=False)
class PairedRuns:
    """The runs of two losses, paired by their seeds.

    Attributes:
        first: one loss.
        second: the other loss.
        runs: for each seed that both have, the run of the first and of the second loss.
    """

    first: Arm
    second: Arm
    runs: Sequence[tuple[FinishedRun, FinishedRun]]

    @classmethod
    def of(cls, first: Arm, second: Arm, runs: Mapping[Arm, Sequence[FinishedRun]]) -> "PairedRuns":
        """Pair the runs of two losses."""
        by_seed = {run.seed: run for run in runs[second]}
        return cls(first, second, [(run, by_seed[run.seed]) for run in runs[first] if run.seed in by_seed])

    def reversed(self) -> "PairedRuns":
        """Return the same runs with the losses the other way round."""
        return PairedRuns(self.second, self.first, [(second, first) for first, second in self.runs])

    def differences(self, metric: str) -> list[float]:
        """Return the difference of a metric for each seed, first loss minus second."""
        return [first.row.report[metric] - second.row.report[metric] for first, second in self.runs]

    def class_sums(self, metric: str) -> np.ndarray:
        """Return the (class,) sums of a metric's differences over the queries of each class, averaged over the seeds."""
        return np.mean(
            [first.by_class.sums[metric] - second.by_class.sums[metric] for first, second in self.runs], axis=0
        )


def measure(folder: Path) -> Results:
    """Return the results of a comparison's finished runs; benchmarks without any are left out.

    Raises:
        ValueError: if the folder is not the folder of a comparison, or no run in it is finished.
    """
    plan = Plan(read_study(folder), folder)
    results = [measure_benchmark(plan, benchmark) for benchmark in plan.study.fields]
    measured = tuple(result for result in results if result is not None)
    failed = tuple(one.name for one in plan.study.fields if len(_failed_losses(plan, one)) == len(plan.study.arms))
    if not measured and failed:
        raise ValueError(
            f"every loss became infinite or NaN with every seed on {', '.join(failed)}; start the comparison again with a "
            "lower --learning_rate and another --out"
        )
    if not measured:
        raise ValueError(f"no run is finished in {folder} yet; start the comparison again with the same command")
    return Results(measured, findings_of(plan, measured), failed)


def measure_benchmark(plan: Plan, benchmark: Benchmark) -> BenchmarkResult | None:
    """Return the results of the finished runs on one benchmark; None if there are none."""
    all_runs = {arm: _finished_runs(plan, benchmark, arm) for arm in plan.study.arms}
    runs = {arm: finished for arm, finished in all_runs.items() if finished}
    if not runs:
        return None
    _check_same_photos([run for finished in runs.values() for run in finished])
    metric = plan.study.metric
    ranked = sorted(runs, key=lambda arm: -_mean(runs[arm], metric))
    # The comparisons of the truly best loss, whichever it is, with each of the others are to hold together.
    level = bonferroni(len(ranked) - 1)
    # All runs have the same test photos.
    of_best = runs[ranked[0]][0]
    counts = of_best.by_class.counts
    by_seed = _one_run_of_each_seed(runs)
    outcomes = [run.outcome for run in by_seed]
    plain = [outcome.baseline for outcome in outcomes if outcome.baseline is not None]
    baselines, post_of_plain = baseline_results(plan, benchmark, by_seed)
    post = post_results(plan, {arm: runs[arm] for arm in ranked})
    done = sum(is_done(plan.run_folder(*run)) for run in plan.runs(benchmark))
    return BenchmarkResult(
        name=benchmark.name,
        data_name=benchmark.settings.data.name,
        classes=len(counts),
        queries=int(counts.sum()),
        metric=metric,
        level=level,
        untrained=t_interval([outcome.untrained[metric] for outcome in outcomes]),
        losses=tuple(_loss_result(plan, benchmark, arm, runs[arm]) for arm in ranked),
        differences=_differences(ranked, runs, metric, level),
        missing=benchmark.seeds * len(plan.study.arms) - done,
        # A mean over some of the seeds would not be comparable with that of the losses.
        baseline=t_interval([b.report[metric] for b in plain]) if len(plain) == len(outcomes) else None,
        baseline_name=plain[0].name if plain else "",
        seen_classes=of_best.outcome.report.seen_classes,
        one_class=of_best.outcome.report.one_class,
        baseline_results=baselines,
        post_name=plan.study.processing.name,
        post=post if post_of_plain is None else (*post, post_of_plain),
        failed_losses=_failed_losses(plan, benchmark),
    )


def _one_run_of_each_seed(runs: Mapping[Arm, list[FinishedRun]]) -> list[FinishedRun]:
    """Return one run of each seed; the baselines of a seed are the same whatever the loss."""
    run_of_seed = {run.seed: run for finished in runs.values() for run in finished}
    return [run_of_seed[seed] for seed in sorted(run_of_seed)]


def _check_same_photos(runs: Sequence[FinishedRun]) -> None:
    """Raise ValueError if the data set was prepared again between runs: their classes would be compared with others."""
    # Runs of version 0.1 do not say on which photos they were tested.
    known = [run for run in runs if run.photos]
    for first, run in pairwise(known):
        if run.photos != first.photos:
            raise ValueError(
                f"{run.run_folder.path} was tested on other photos than {first.run_folder.path}, because the data set was "
                "prepared again; remove the folder of the older run, or give the comparison another --out"
            )


def _failed_losses(plan: Plan, benchmark: Benchmark) -> tuple[FailedLoss, ...]:
    """Return the losses that became infinite or NaN with every seed."""
    messages = {arm.name: _failures(plan, benchmark, arm) for arm in plan.study.arms}
    return tuple(FailedLoss(name, found) for name, found in messages.items() if len(found) == benchmark.seeds)


def _failures(plan: Plan, benchmark: Benchmark, arm: Arm) -> tuple[str, ...]:
    """Return for each seed whose run ended because the loss became infinite or NaN the error message."""
    files = [plan.run_folder(benchmark, arm, seed).path / FAILED_FILE for seed in benchmark.seed_numbers]
    return tuple(read_text(file).strip() for file in files if file.is_file())


def _finished_runs(plan: Plan, benchmark: Benchmark, arm: Arm) -> list[FinishedRun]:
    run_folders = {seed: plan.run_folder(benchmark, arm, seed) for seed in benchmark.seed_numbers}
    return [
        FinishedRun.open(seed, run_folder)
        for seed, run_folder in run_folders.items()
        if is_done(run_folder) and not (run_folder.path / FAILED_FILE).is_file()
    ]


def _mean(runs: Sequence[FinishedRun], metric: str) -> float:
    return float(np.mean([run.row.report[metric] for run in runs]))


def _loss_result(plan: Plan, benchmark: Benchmark, arm: Arm, runs: list[FinishedRun]) -> LossResult:
    experiment = runs[0].run_folder.experiment()
    # Every run is evaluated after the same epochs; rows are paired by epoch.
    epochs = zip(*(run.outcome.rows for run in runs), strict=True)
    return LossResult(
        name=arm.name,
        # The runs of version 0.1 do not store the text of a function that was wrapped; the study does.
        loss=loss_text(experiment.loss) if can_be_typed(experiment.loss) else arm.loss,
        settings=_tuned_rates(experiment) if plan.study.tune else "",
        metrics=_metrics(runs),
        curve=tuple(t_interval([row.report[plan.study.metric] for row in rows]) for rows in epochs),
        mean_s_p=_interval_or_none([run.row.mean_s_p for run in runs]),
        mean_s_n=_interval_or_none([run.row.mean_s_n for run in runs]),
        seconds=t_interval([sum(row.seconds for row in run.outcome.rows) for run in runs]),
        seeds=tuple(run.seed for run in runs),
        runs=tuple(run.run_folder.path.relative_to(plan.folder).as_posix() for run in runs),
        failed=_failures(plan, benchmark, arm),
        epochs=tuple(row.epoch for row in runs[0].outcome.rows),
    )


def _tuned_rates(experiment: Experiment) -> str:
    # The tuned hyper-parameters of the loss are in its own text already.
    rates = {name: value for name, value in tunable_values(experiment).items() if name.endswith("learning_rate")}
    return ", ".join(f"{name} {value:.2g}" for name, value in rates.items())


def _interval_or_none(values: list[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return t_interval(known) if known else None


def _metrics(runs: list[FinishedRun]) -> tuple[Measured, ...]:
    metrics = runs[0].row.report.metrics
    # Averaged over the seeds first, because the interval over classes is that of the mean over seeds.
    sums = {metric.name: np.mean([run.by_class.sums[metric.name] for run in runs], axis=0) for metric in metrics}
    intervals = ClassSums(sums, runs[0].by_class.counts, runs[0].by_class.class_metrics).intervals(RESAMPLES)
    return tuple(
        Measured(m.name, t_interval([run.row.report[m.name] for run in runs]), *intervals[m.name], m.decimals)
        for m in metrics
    )


def _differences(
    ranked: list[Arm], runs: Mapping[Arm, list[FinishedRun]], metric: str, level: float
) -> tuple[Difference, ...]:
    all_pairs = [PairedRuns.of(first, second, runs) for first, second in combinations(ranked, 2)]
    # Two losses of an unfinished study may have no seed in common.
    pairs = [pair for pair in all_pairs if pair.runs]
    if not pairs:
        return ()
    sums = np.stack([pair.class_sums(metric) for pair in pairs])  # (pair, class)
    # All runs on a benchmark have the same queries, so the counts of any run will do.
    weights = runs[ranked[0]][0].by_class.weights(metric)
    lows, highs = class_bootstrap(sums, weights, level)
    return tuple(
        _difference(pair, metric, level, (float(low), float(high)), several_classes=len(weights) > 1)
        for pair, low, high in zip(pairs, lows, highs, strict=True)
    )


def _difference(
    pair: PairedRuns, metric: str, level: float, over_classes: tuple[float, float], several_classes: bool
) -> Difference:
    over_seeds = t_interval(pair.differences(metric), level)
    low, high = over_classes
    if over_seeds.mean < 0:
        # The losses were ranked over all seeds of each; on the seeds that both have, the order may be the other one.
        return _difference(pair.reversed(), metric, level, (-high, -low), several_classes)
    # Two losses are distinguishable if both intervals lie above 0. The classes say nothing if there is only one.
    distinguishable = over_seeds.excludes_zero and low > 0 and several_classes
    return Difference(metric, pair.first.name, pair.second.name, over_seeds, low, high, distinguishable)
