"""The findings of a study: variance tables, rank agreement, predictors and contributions, from its results and runs."""

from collections.abc import Sequence

from pairlens.comparison.contributions import contributions_of
from pairlens.comparison.findings import Findings
from pairlens.comparison.predictors import predictions_of
from pairlens.comparison.rank_agreement import RankedLosses, agreements_of
from pairlens.comparison.results import BenchmarkResult
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.variance_table import variance_tables


def findings_of(plan: Plan, results: Sequence[BenchmarkResult]) -> Findings:
    """Return what a study shows as a whole.

    Args:
        plan: the study with its folder, whose runs and trials are read.
        results: of its benchmarks.
    """
    benchmarks = {benchmark.name: benchmark for benchmark in plan.study.fields}
    predictions = [predictions_of(plan, benchmarks[result.name], result) for result in results]
    return Findings(
        variance_tables(plan, results),
        agreements_of([RankedLosses.of(result) for result in results]),
        tuple(prediction for found in predictions for prediction in found),
        contributions_of(plan, results),
    )
