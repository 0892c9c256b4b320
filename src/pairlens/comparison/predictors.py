"""Which cheap measurement of a run predicts its test metric: rank correlations over runs and within losses."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pairlens.comparison.findings import Estimate, Prediction, SourceOfMeasurement
from pairlens.comparison.rank_correlation import LEAST_VALUES, clustered_spearman, spearman
from pairlens.comparison.results import BenchmarkResult
from pairlens.comparison.study import Benchmark
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tuning import best_trial, read_trials
from pairlens.evaluation.embedding_stats import EmbeddingStats
from pairlens.evaluation.intervals import t_interval
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run_sums import spectrum_of_run

TRAINING: SourceOfMeasurement = "training photos"
WITHOUT_CLASSES: SourceOfMeasurement = "test photos without their classes"
TEST: SourceOfMeasurement = "test classes"
# Statistics of training photos, as they were trained on in the last steps; the gap of the mean cosines is added to them.
OF_TRAINING_PHOTOS = {
    "mean s_p": "mean_s_p",
    "mean s_n": "mean_s_n",
    "d′ of the similarities": "d_prime",
    "overlap of the similarities": "overlap",
    "uniformity": "uniformity",
    "π ratio": "pi_ratio",
    "spectral decay ρ": "rho",
    "effective rank": "effective_rank",
    "skewness of hubs": "hub_skewness",
    "weight on the hardest 1 % of pairs": "hardest_1_percent",
    "effective pairs": "effective_pairs",
    "pairs pushed in the wrong direction": "wrong_signs",
}


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A finished run with what was measured beside its test metric.

    Attributes:
        loss: the name of its loss.
        value: the ranking metric on the test photos.
        row: its selected epoch.
        folds: the metric of the chosen trial on folds of the training classes; None if nothing was tuned.
        spectrum: spectral decay and effective rank of its test embeddings.
    """

    loss: str
    value: float
    row: EpochRow
    folds: float | None
    spectrum: tuple[float, float]


# A measurement: its name, what it is taken from, and how it is read from a run.
Reader = Callable[[MeasuredRun], float | None]


def predictions_of(plan: Plan, benchmark: Benchmark, result: BenchmarkResult) -> tuple[Prediction, ...]:
    """Return the correlation of every measurement with the ranking metric over the runs of a benchmark.

    The control is left out, because it has no pairwise loss. A measurement that some run lacks, as the statistics of
    `log_analysis` where it is off, is left out as well.
    """
    runs = _measured_runs(plan, benchmark, result)
    found = [_prediction(result.name, name, source, read, runs) for name, source, read in _measurements(result.metric)]
    return tuple(prediction for prediction in found if prediction is not None)


def _measured_runs(plan: Plan, benchmark: Benchmark, result: BenchmarkResult) -> list[MeasuredRun]:
    folds = _chosen_values(plan, benchmark)
    runs = []
    for loss in result.losses:
        for run in () if loss.is_control else loss.runs:
            run_folder = RunFolder(plan.folder / run)
            row = run_folder.read_outcome().kept_row
            spectrum = spectrum_of_run(run_folder)
            runs.append(MeasuredRun(loss.name, row.report[result.metric], row, folds.get(loss.name), spectrum))
    return runs


def _chosen_values(plan: Plan, benchmark: Benchmark) -> dict[str, float]:
    """Return the best value of each loss on the folds on which its settings were chosen."""
    trials = {arm.name: read_trials(plan.tuning_folder(benchmark, arm))[: plan.study.tune] for arm in plan.study.arms}
    return {name: best_trial(found, plan.study.folds).value for name, found in trials.items() if found}


def _measurements(metric: str) -> list[tuple[str, SourceOfMeasurement, Reader]]:
    of_photos: list[tuple[str, SourceOfMeasurement, Reader]] = [
        (f"{name}, training photos", TRAINING, _of_seen(lambda seen, key=key: getattr(seen, key)))
        for name, key in OF_TRAINING_PHOTOS.items()
    ]
    return [
        (f"{metric} of the chosen setting on folds", TRAINING, lambda run: run.folds),
        (f"{metric} on held-out photos", TRAINING, lambda run: run.row.validation and run.row.validation[metric]),
        ("training loss of the last epoch", TRAINING, lambda run: run.row.train_loss),
        ("accuracy of the auxiliary classifier", TRAINING, lambda run: run.row.train_accuracy),
        ("cosine of the gradients of both losses", TRAINING, lambda run: run.row.gradient_cosine),
        ("s_p - s_n, training photos", TRAINING, _of_seen(lambda seen: seen.mean_s_p - seen.mean_s_n)),
        *of_photos,
        ("effective rank, test photos", WITHOUT_CLASSES, lambda run: run.spectrum[1]),
        ("spectral decay ρ, test photos", WITHOUT_CLASSES, lambda run: run.spectrum[0]),
        ("mean s_p, test photos", TEST, lambda run: run.row.mean_s_p),
        ("mean s_n, test photos", TEST, lambda run: run.row.mean_s_n),
        ("s_p - s_n, test photos", TEST, _test_gap),
    ]


def _of_seen(read: Callable[[EmbeddingStats], float | None]) -> Reader:
    return lambda run: None if run.row.seen is None else read(run.row.seen)


def _test_gap(run: MeasuredRun) -> float | None:
    s_p, s_n = run.row.mean_s_p, run.row.mean_s_n
    return None if s_p is None or s_n is None else s_p - s_n


def _prediction(
    benchmark: str, name: str, source: SourceOfMeasurement, read: Reader, runs: Sequence[MeasuredRun]
) -> Prediction | None:
    measured = [read(run) for run in runs]
    known = [value for value in measured if value is not None and math.isfinite(value)]
    if len(known) < max(len(runs), LEAST_VALUES):
        return None
    losses = [run.loss for run in runs]
    x, y = np.array(known), np.array([run.value for run in runs])
    over_runs = clustered_spearman(x, y, np.array(losses))
    # A measurement that is equal in all runs has no ranks.
    if math.isnan(over_runs.value):
        return None
    by_loss = {loss: np.array([other == loss for other in losses]) for loss in dict.fromkeys(losses)}
    return Prediction(benchmark, name, source, over_runs, _within(x, y, by_loss), len(runs), len(by_loss))


def _within(x: np.ndarray, y: np.ndarray, by_loss: Mapping[str, np.ndarray]) -> Estimate | None:
    """Return the mean of the correlations over the seeds of one loss, with the t-interval over the losses."""
    several = [runs for runs in by_loss.values() if runs.sum() >= LEAST_VALUES]
    found = [spearman(x[runs], y[runs]) for runs in several]
    known = [value for value in found if not math.isnan(value)]
    if not known:
        return None
    interval = t_interval(known)
    if interval.low is None or interval.high is None:
        return Estimate(interval.mean)
    # Student's interval knows no bounds, but a correlation has some.
    return Estimate(interval.mean, max(interval.low, -1.0), min(interval.high, 1.0))
