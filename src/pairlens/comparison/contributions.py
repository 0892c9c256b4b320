"""What backbone, auxiliary loss and pairwise loss each contribute to the ranking metric, as paired differences of runs."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from pairlens.comparison.findings import Contribution
from pairlens.comparison.results import BenchmarkResult, LossResult
from pairlens.comparison.study import Benchmark
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.variance_table import settings_of_benchmark
from pairlens.core.records import to_plain
from pairlens.evaluation.intervals import t_interval

BACKBONE = "backbone"
NEW_LAYERS = "new layers, without any loss"
AUXILIARY = "auxiliary loss"
AUXILIARY_BESIDE = "auxiliary loss, beside a pairwise loss"
LOSS = "pairwise loss"
# Values of the ranking metric by seed.
BySeed = Mapping[int, float]


def contributions_of(plan: Plan, results: Sequence[BenchmarkResult]) -> tuple[Contribution, ...]:
    """Return what each part contributes on every benchmark; parts whose control is missing are left out.

    Every difference is one of runs with the same seed, and its interval is Student's over the seeds. The level is the
    backbone as it comes. The control is the loss `pairlens.comparison.controls:no_loss`.
    """
    benchmarks = {benchmark.name: benchmark for benchmark in plan.study.fields}
    found = []
    for result in results:
        alone = _without_auxiliary(benchmarks[result.name], benchmarks)
        partner = next((other for other in results if alone is not None and other.name == alone.name), None)
        auxiliary = benchmarks[result.name].settings.objective.auxiliary
        found += _of_benchmark(result, partner, has_auxiliary=auxiliary > 0)
    return tuple(contribution for contribution in found if contribution is not None)


def _without_auxiliary(benchmark: Benchmark, benchmarks: Mapping[str, Benchmark]) -> Benchmark | None:
    """Return the benchmark that has the same settings without the auxiliary loss; None if the study has none."""
    if not benchmark.settings.objective.auxiliary:
        return None
    settings = _comparable(benchmark, 0.0)
    return next((other for other in benchmarks.values() if _comparable(other) == settings), None)


def _comparable(benchmark: Benchmark, auxiliary: float | None = None) -> str:
    settings = settings_of_benchmark(benchmark) | ({} if auxiliary is None else {"auxiliary": auxiliary})
    return json.dumps({name: to_plain(value) for name, value in settings.items()}, sort_keys=True)


def _of_benchmark(
    result: BenchmarkResult, partner: BenchmarkResult | None, has_auxiliary: bool
) -> list[Contribution | None]:
    control, losses = _control(result), [loss for loss in result.losses if not loss.is_control]
    found = [*_of_backbone(result, control, has_auxiliary), *_of_post_processing(result)]
    if partner is not None:
        found += _of_auxiliary(result, partner, control, losses)
    if control is not None and losses:
        without = _by_seed(result, control)
        found.append(_difference(result, LOSS, f"{losses[0].name} (best) - none", _by_seed(result, losses[0]), without))
        gains = [_differences(_by_seed(result, loss), without) for loss in losses]
        found += [_mean(result, LOSS, f"mean of {len(losses)} losses - none", gains)] if len(losses) > 1 else []
    return found


def _of_post_processing(result: BenchmarkResult) -> list[Contribution | None]:
    """Return what post-processing adds to the backbone as it comes, and to the losses on average."""
    seeds = {loss.name: loss.seeds for loss in result.losses if not loss.is_control}
    of_losses = [post for post in result.post if len(post.over_seeds.values) == len(seeds.get(post.name, ()))]
    found: list[Contribution | None] = [
        Contribution(
            result.name,
            result.post_name,
            f"{post.name}, {result.post_name} - {post.name}",
            post.over_seeds,
            class_low=post.class_low,
            class_high=post.class_high,
        )
        for post in result.post
        if post.name == result.baseline_name
    ]
    if of_losses:
        gains = [dict(zip(seeds[post.name], post.over_seeds.values, strict=True)) for post in of_losses]
        what = f"mean of {len(of_losses)} losses, {result.post_name} - the same as trained"
        found.append(_mean(result, result.post_name, what, gains))
    return found


def _control(result: BenchmarkResult) -> LossResult | None:
    return next((loss for loss in result.losses if loss.is_control), None)


def _of_backbone(result: BenchmarkResult, control: LossResult | None, has_auxiliary: bool) -> list[Contribution | None]:
    if result.baseline is None:
        return []
    level = Contribution(result.name, BACKBONE, result.baseline_name, result.baseline, is_level=True)
    # One value per seed of the study, in the order of the seeds.
    seeds = sorted({seed for loss in result.losses for seed in loss.seeds})
    if control is None or has_auxiliary or len(seeds) != len(result.baseline.values):
        return [level]
    plain = dict(zip(seeds, result.baseline.values, strict=True))
    return [level, _difference(result, NEW_LAYERS, f"none - {result.baseline_name}", _by_seed(result, control), plain)]


def _of_auxiliary(
    result: BenchmarkResult, partner: BenchmarkResult, control: LossResult | None, losses: Sequence[LossResult]
) -> list[Contribution | None]:
    found: list[Contribution | None] = []
    alone = {loss.name: _by_seed(partner, loss) for loss in partner.losses}
    if control is not None and control.name in alone:
        both = _by_seed(result, control), alone[control.name]
        found.append(_difference(result, AUXILIARY, f"none - none on {partner.name}", *both))
    pairs = [loss for loss in losses if loss.name in alone]
    gains = [_differences(_by_seed(result, loss), alone[loss.name]) for loss in pairs]
    if pairs:
        what = f"mean of {len(pairs)} losses - the same on {partner.name}"
        found.append(_mean(result, AUXILIARY_BESIDE, what, gains))
    return found


def _by_seed(result: BenchmarkResult, loss: LossResult) -> dict[int, float]:
    return dict(zip(loss.seeds, loss.metric(result.metric).over_seeds.values, strict=True))


def _differences(first: BySeed, second: BySeed) -> dict[int, float]:
    return {seed: value - second[seed] for seed, value in first.items() if seed in second}


def _difference(
    result: BenchmarkResult, part: str, compared: str, first: BySeed, second: BySeed
) -> Contribution | None:
    """Return the paired differences of two losses; None if they have no seed in common."""
    points = list(_differences(first, second).values())
    return Contribution(result.name, part, compared, t_interval(points)) if points else None


def _mean(result: BenchmarkResult, part: str, compared: str, gains: Sequence[BySeed]) -> Contribution | None:
    """Return the mean over losses of their paired differences, for the seeds that all of them have."""
    seeds = sorted(set.intersection(*map(set, gains)))
    points = [float(np.mean([gain[seed] for gain in gains])) for seed in seeds]
    return Contribution(result.name, part, compared, t_interval(points)) if points else None
