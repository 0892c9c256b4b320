"""What the losses of a benchmark are compared with, and every loss after post-processing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pairlens.comparison.finished_run import FinishedRun
from pairlens.comparison.results import BaselineResult, Measured, PostResult
from pairlens.comparison.study import Arm, Benchmark
from pairlens.comparison.study_plan import Plan
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.intervals import RESAMPLES, class_bootstrap, t_interval
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.baseline import MeasuredBaseline
from pairlens.experiments.outcome import BEFORE_TRAINING
from pairlens.experiments.stored_post import MeasuredPost, post_of_baseline, post_of_run

# The values of a run before and after post-processing: its report and its sums over the queries of each class.
Values = tuple[Report, ClassSums]


def baseline_results(
    plan: Plan, benchmark: Benchmark, by_seed: Sequence[FinishedRun]
) -> tuple[tuple[BaselineResult, ...], PostResult | None]:
    """Return every metric of the baselines, and of the backbone as it comes its gain by post-processing.

    Args:
        plan: of the study.
        benchmark: the benchmark.
        by_seed: one run of each seed, because the baselines are the same whatever the loss.
    """
    before = BaselineResult(BEFORE_TRAINING, _over_seeds([run.outcome.untrained for run in by_seed]))
    plain = [run.outcome.baseline for run in by_seed if run.outcome.baseline is not None]
    # A mean over some of the seeds would not be comparable with that of the losses.
    if len(plain) < len(by_seed):
        return (before,), None
    name = plain[0].name
    found = [BaselineResult(name, _over_seeds([baseline.report for baseline in plain]))]
    processing = plan.study.processing
    stored = [post_of_baseline(plan.post_file(benchmark, baseline), baseline, processing) for baseline in plain]
    processed = [one for one in stored if one is not None]
    if not processing.name or len(processed) < len(plain):
        return (*found, before), None
    found.append(BaselineResult(f"{name}, {processing.name}", _over_seeds([one.record.report for one in processed])))
    measured = [MeasuredBaseline.load(run.run_folder.baseline) for run in by_seed]
    pairs = [((one.record.report, one.by_class), _values(post)) for one, post in zip(measured, processed, strict=True)]
    return (*found, before), _post_result(name, pairs, plan.study.metric)


def post_results(plan: Plan, runs: Mapping[Arm, Sequence[FinishedRun]]) -> tuple[PostResult, ...]:
    """Return the losses after post-processing, as far as their runs are measured; none if the study does not ask for it."""
    processing = plan.study.processing
    if not processing.name:
        return ()
    results = []
    for arm, finished in runs.items():
        stored = [(run, post_of_run(run.run_folder, processing)) for run in finished]
        pairs = [((run.row.report, run.by_class), _values(post)) for run, post in stored if post is not None]
        seeds = tuple(run.seed for run, post in stored if post is not None)
        if pairs:
            results.append(replace(_post_result(arm.name, pairs, plan.study.metric), seeds=seeds))
    return tuple(results)


def _values(post: MeasuredPost) -> Values:
    return post.record.report, post.by_class


def _over_seeds(reports: Sequence[Report]) -> dict:
    return {metric.name: t_interval([report[metric.name] for report in reports]) for metric in reports[0].metrics}


def _post_result(name: str, pairs: Sequence[tuple[Values, Values]], metric: str) -> PostResult:
    """Return the mean over seeds after post-processing, and the paired gain; the queries are the same before and after."""
    gains = [after[metric] - before[metric] for (before, _), (after, _) in pairs]
    after_sums = [sums for _, (_, sums) in pairs]
    counts = after_sums[0].counts
    gain = np.mean([after.sums[metric] - before.sums[metric] for (_, before), (_, after) in pairs], axis=0)
    low, high = class_bootstrap(gain[None], counts)
    reports = [report for _, (report, _) in pairs]
    means = {m.name: np.mean([sums.sums[m.name] for sums in after_sums], axis=0) for m in reports[0].metrics}
    ends = ClassSums(means, counts).intervals(RESAMPLES)
    metrics = tuple(
        Measured(m.name, t_interval([report[m.name] for report in reports]), *ends[m.name], m.decimals)
        for m in reports[0].metrics
    )
    return PostResult(name, metrics, t_interval(gains), float(low[0]), float(high[0]))
