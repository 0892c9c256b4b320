"""Where the variance of a metric comes from: the loss, the seed, the tuned setting, and what differs between benchmarks."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from pairlens.comparison.controls import is_control
from pairlens.comparison.findings import VarianceTable
from pairlens.comparison.results import BenchmarkResult, LossResult
from pairlens.comparison.study import Benchmark
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tuning import ELSEWHERE, Trial, read_trials
from pairlens.comparison.variance_components import (
    Component,
    MeanSquare,
    Term,
    component_of,
    mean_squares,
    terms_of,
    variance_rows,
)
from pairlens.core.records import to_plain
from pairlens.core.settings import flat_settings

LOSS, SEED = 0, 1
RANDOM = Term({LOSS, SEED})
# Sets of more benchmarks are too many to try.
MAX_BENCHMARKS = 12
# Values of one metric: by loss, by seed.
Values = Mapping[str, Mapping[int, float]]
ONE_SEED = "one seed does not show how much of the variance comes from chance; run more seeds"
ONE_LOSS = "two losses or more with the same seeds are needed"


def variance_tables(plan: Plan, results: Sequence[BenchmarkResult]) -> tuple[VarianceTable, ...]:
    """Return the variance tables of a study: of each benchmark, over the benchmarks, and of the trials of the tuning."""
    metrics = dict.fromkeys(name for result in results for name in (result.metric, _recall(result)))
    of_benchmarks = [
        _benchmark_table(result, metric) for result in results for metric in metrics if _has(result, metric)
    ]
    over_all = [table for metric in metrics for table in _study_tables(plan, results, metric)]
    owners = dict.fromkeys(plan.owner(benchmark).name for benchmark in plan.study.fields)
    tuned = [_tuning_table(plan, benchmark) for benchmark in plan.study.fields if benchmark.name in owners]
    return tuple(table for table in (*of_benchmarks, *over_all, *tuned) if table is not None)


def _recall(result: BenchmarkResult) -> str:
    """Return the name of Recall@K for the least K, or of the ranking metric if recall is not measured."""
    names = [measured.name for measured in result.losses[0].metrics]
    return next((name for name in names if name.startswith("R@")), result.metric)


def _has(result: BenchmarkResult, metric: str) -> bool:
    return metric in {measured.name for measured in result.losses[0].metrics}


def values_of(losses: Iterable[LossResult], metric: str) -> dict[str, dict[int, float]]:
    """Return the values of a metric by loss and seed, without the control, which is no loss."""
    found = {loss.name: loss.metric(metric).over_seeds.values for loss in losses if not loss.is_control}
    seeds = {loss.name: loss.seeds for loss in losses}
    return {name: dict(zip(seeds[name], values, strict=True)) for name, values in found.items()}


def complete_design(values: Values) -> tuple[list[str], list[int]]:
    """Return the losses and seeds of the complete design with the most runs; missing runs make a design unbalanced.

    Losses are taken in the order of their number of seeds, and of each number of losses the seeds that all of them have.
    With equally many runs the design with more losses is taken.

    >>> complete_design({"a": {0: 0.1, 1: 0.2, 2: 0.2}, "b": {0: 0.1, 1: 0.3, 2: 0.1}, "c": {1: 0.3}})
    (['a', 'b'], [0, 1, 2])
    """
    ordered = sorted(values, key=lambda name: -len(values[name]))
    best: tuple[list[str], list[int]] = ([], [])
    for count in range(1, len(ordered) + 1):
        losses = ordered[:count]
        seeds = sorted(set.intersection(*(set(values[name]) for name in losses)))
        if len(losses) * len(seeds) >= len(best[0]) * len(best[1]):
            best = (losses, seeds)
    return best


def _benchmark_table(result: BenchmarkResult, metric: str) -> VarianceTable:
    values = values_of(result.losses, metric)
    losses, seeds = complete_design(values)
    left_out = sum(map(len, values.values())) - len(losses) * len(seeds)
    design = f"{len(losses)} losses × {len(seeds)} seeds"
    reason = _obstacle(losses, seeds)
    if reason:
        return VarianceTable(result.name, metric, design, (), left_out, reason)
    grid = np.array([[values[loss][seed] for seed in seeds] for loss in losses])
    sources = {
        "loss": [component_of(Term({LOSS}), grid.shape, RANDOM)],
        "seed, the same for all losses": [component_of(Term({SEED}), grid.shape, RANDOM)],
        "seed, different for each loss": [component_of(RANDOM, grid.shape, RANDOM)],
    }
    return VarianceTable(result.name, metric, design, variance_rows(mean_squares(grid), sources), left_out)


def _obstacle(losses: Sequence[str], seeds: Sequence[int]) -> str:
    if len(losses) < 2:
        return ONE_LOSS
    return ONE_SEED if len(seeds) < 2 else ""


def _study_tables(plan: Plan, results: Sequence[BenchmarkResult], metric: str) -> list[VarianceTable]:
    """Return a table over all benchmarks, and one for each part of them that is a grid of settings."""
    by_name = {result.name: result for result in results if _has(result, metric)}
    benchmarks = [benchmark for benchmark in plan.study.fields if benchmark.name in by_name]
    if len(benchmarks) < 2:
        return []
    factors = differing_factors(benchmarks)
    grids = grids_of(factors)
    whole = tuple(range(len(benchmarks)))
    tables = [] if whole in grids else [_over_benchmarks(by_name, benchmarks, {"benchmark": list(whole)}, metric)]
    for grid in grids:
        chosen = {name: [levels[index] for index in grid] for name, levels in factors.items()}
        varying = {name: levels for name, levels in chosen.items() if len(set(levels)) > 1}
        tables.append(_over_benchmarks(by_name, [benchmarks[index] for index in grid], varying, metric))
    return tables


def _over_benchmarks(
    by_name: Mapping[str, BenchmarkResult],
    benchmarks: Sequence[Benchmark],
    factors: Mapping[str, Sequence[int]],
    metric: str,
) -> VarianceTable:
    by_benchmark = [values_of(by_name[benchmark.name].losses, metric) for benchmark in benchmarks]
    shared = _shared_values(by_benchmark)
    losses, seeds = complete_design(shared)
    left_out = sum(len(of_loss) for values in by_benchmark for of_loss in values.values())
    left_out -= len(losses) * len(seeds) * len(benchmarks)
    names = "; ".join(benchmark.name for benchmark in benchmarks)
    design = f"{len(losses)} losses × {len(seeds)} seeds × {len(benchmarks)} benchmarks: {names}"
    title = f"benchmarks that differ in {' and '.join(factors)}" if "benchmark" not in factors else "all benchmarks"
    reason = _obstacle(losses, seeds)
    if reason:
        return VarianceTable(title, metric, design, (), left_out, reason)
    positions = [_positions(levels) for levels in factors.values()]
    grid = np.empty((len(losses), len(seeds), *(max(levels) + 1 for levels in positions)))
    for index, values in zip(zip(*positions, strict=True), by_benchmark, strict=True):
        grid[(slice(None), slice(None), *index)] = [[values[loss][seed] for seed in seeds] for loss in losses]
    rows = variance_rows(mean_squares(grid), _study_sources(list(factors), grid.shape))
    return VarianceTable(title, metric, design, rows, left_out)


def _positions(levels: Sequence[int]) -> list[int]:
    """Return levels numbered from 0 without gaps."""
    found = list(dict.fromkeys(levels))
    return [found.index(level) for level in levels]


def _shared_values(by_benchmark: Sequence[Values]) -> dict[str, dict[int, float]]:
    """Return for each loss the seeds that it has on every benchmark; the values are those of the first one."""
    first, *others = by_benchmark
    return {
        name: {seed: value for seed, value in seeds.items() if all(seed in other.get(name, {}) for other in others)}
        for name, seeds in first.items()
    }


def _study_sources(factors: Sequence[str], levels: tuple[int, ...]) -> dict[str, list[Component]]:
    """Return the sources of variance over benchmarks, in the order of the table."""
    settings = Term(range(2, len(levels)))
    groups: dict[str, list[Term]] = {"loss": [Term({LOSS})]}
    groups |= {name: [Term({axis})] for axis, name in enumerate(factors, start=2)}
    terms = terms_of(len(levels))
    if len(settings) > 1:
        groups["combinations of these settings"] = [t for t in terms if t <= settings and len(t) > 1]
    groups["losses ranked differently by these settings"] = [
        term for term in terms if LOSS in term and SEED not in term and len(term) > 1
    ]
    groups["seed"] = [term for term in terms if SEED in term]
    return {name: [component_of(term, levels, RANDOM) for term in found] for name, found in groups.items()}


def differing_factors(benchmarks: Sequence[Benchmark]) -> dict[str, list[int]]:
    """Return the settings in which benchmarks differ, with the level of each benchmark.

    Settings that change together are one factor, because their effects cannot be told apart.

    Returns:
        For each factor, named by its settings, the number of the level of each benchmark.
    """
    plain = [
        {name: json.dumps(to_plain(value)) for name, value in settings_of_benchmark(one).items()} for one in benchmarks
    ]
    by_levels: dict[tuple[int, ...], list[str]] = {}
    for name in plain[0]:
        texts = [settings[name] for settings in plain]
        values = list(dict.fromkeys(texts))
        if len(values) > 1:
            by_levels.setdefault(tuple(values.index(text) for text in texts), []).append(name)
    return {" with ".join(names): list(levels) for levels, names in by_levels.items()}


def grids_of(factors: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the largest sets of benchmarks that have every combination of the levels that occur in them.

    In such a grid the effect of each factor is told apart from the others. A grid that is a part of another is left out.

    Args:
        factors: for each factor, the level of each benchmark.

    Returns:
        The positions of the benchmarks of each grid, the largest grid first; none with more than 12 benchmarks.

    >>> grids_of({"crop": [0, 0, 1, 1, 1], "auxiliary": [0, 1, 0, 1, 0], "data": [0, 0, 0, 0, 1]})
    [(0, 1, 2, 3), (2, 4)]
    """
    levels = list(zip(*factors.values(), strict=True))
    found: list[tuple[int, ...]] = []
    for size in range(len(levels) if len(levels) <= MAX_BENCHMARKS else 0, 1, -1):
        for chosen in combinations(range(len(levels)), size):
            columns = [set(column) for column in zip(*(levels[index] for index in chosen), strict=True)]
            is_grid = len({levels[index] for index in chosen}) == size == math.prod(map(len, columns))
            if is_grid and not any(set(chosen) <= set(other) for other in found):
                found.append(chosen)
    return found


def settings_of_benchmark(benchmark: Benchmark) -> dict[str, object]:
    """Return the settings of a benchmark that change results, without those that a study varies run by run."""
    apart = {*ELSEWHERE, "loss", "seed", "fold", "folds"}
    return {name: value for name, value in flat_settings(benchmark.settings).items() if name not in apart}


def _tuning_table(plan: Plan, benchmark: Benchmark) -> VarianceTable | None:
    """Return how much the trials of a loss differ on folds of the training classes; None if nothing was tuned."""
    arms = [arm for arm in plan.study.arms if not is_control(arm.loss)]
    trials = [read_trials(plan.tuning_folder(benchmark, arm))[: plan.study.tune] for arm in arms]
    tried = [found for found in trials if len(found) > 1]
    # With halving the worse settings have not all folds, and what is left would differ less than the settings do.
    if not plan.study.tune or plan.study.halving or not tried:
        return None
    folds = len(tried[0][0].folds)
    design = f"{len(tried)} losses × {max(map(len, tried))} settings × {folds} folds of the training classes"
    if len(tried) < 2 or folds < 2:
        return VarianceTable(f"tuning of {benchmark.name}", plan.study.metric, design, (), 0, ONE_LOSS)
    rows = variance_rows(*nested_design(tried))
    return VarianceTable(f"tuning of {benchmark.name}", plan.study.metric, design, rows)


def nested_design(trials: Sequence[Sequence[Trial]]) -> tuple[dict[Term, MeanSquare], dict[str, list[Component]]]:
    """Return mean squares and components of trials, whose settings lie within a loss and are crossed with the folds.

    A value is the mean of one trial over its folds. The mean squares are those between the losses, between the settings of
    a loss, and of what is left of a trial's fold after its mean and the mean of its loss on this fold. With k losses and
    T_l settings of loss l, n = (Σ T_l - Σ T_l² / Σ T_l) / (k - 1) settings per loss count (Searle, Linear Models, 1971).

    Args:
        trials: of each loss, two or more with the same folds.
    """
    arrays = [np.array([trial.folds for trial in found]) for found in trials]  # of each loss (setting, fold)
    folds = arrays[0].shape[1]
    counts = np.array([len(array) for array in arrays])
    means = np.array([array.mean() for array in arrays])
    within = [array.mean(axis=1) - array.mean() for array in arrays]
    rest = [array - array.mean(axis=1, keepdims=True) - array.mean(axis=0) + array.mean() for array in arrays]
    between = float((counts * (means - np.average(means, weights=counts)) ** 2).sum())
    settings = int((counts - 1).sum())
    loss, setting, fold = Term({0}), Term({0, 1}), Term({0, 1, 2})
    squares = {
        loss: MeanSquare(between / (len(arrays) - 1), len(arrays) - 1),
        setting: MeanSquare(sum(float((one**2).sum()) for one in within) / settings, settings),
        # Divided by the folds, because a value is a mean over them.
        fold: MeanSquare(
            sum(float((one**2).sum()) for one in rest) / (settings * (folds - 1)) / folds, settings * (folds - 1)
        ),
    }
    per_loss = float(counts.sum() - (counts**2).sum() / counts.sum()) / (len(arrays) - 1)
    sources = {
        "loss": [Component(loss, {loss: 1 / per_loss, setting: -1 / per_loss})],
        "setting of the loss": [Component(setting, {setting: 1.0, fold: -1.0})],
        "setting, different for each fold": [Component(fold, {fold: 1.0})],
    }
    return squares, sources
