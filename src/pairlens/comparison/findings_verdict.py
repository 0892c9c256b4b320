"""What a whole study shows, in sentences that claim no more than the intervals support."""

from collections.abc import Sequence

from pairlens.comparison.findings import Contribution, Estimate, Findings, Prediction, RankAgreement, VarianceTable
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import percent

# Of more pairs of benchmarks, a sentence gives only the range of their correlations.
MAX_PAIRS_IN_WORDS = 6


def findings_sentences(findings: Findings, metric: str) -> list[str]:
    """Return a paragraph for each question that the study can answer.

    Args:
        findings: of the study.
        metric: the ranking metric.
    """
    names = dict.fromkeys(one.benchmark for one in findings.contributions)
    by_benchmark = [[one for one in findings.contributions if one.benchmark == name] for name in names]
    variance = [_variance(table) for table in findings.variance if table.rows and table.metric == metric]
    predictors = dict.fromkeys(one.benchmark for one in findings.predictions)
    return [
        *(_contributions(name, found, metric) for name, found in zip(names, by_benchmark, strict=True)),
        *variance,
        *([_agreements(findings.agreements)] if findings.agreements else []),
        *(_predictor(name, [one for one in findings.predictions if one.benchmark == name]) for name in predictors),
    ]


def _contributions(name: str, found: Sequence[Contribution], metric: str) -> str:
    levels = [
        f"the {one.compared} as it comes has {percent(one.points.mean)} % {metric}" for one in found if one.is_level
    ]
    added = [_contribution(one) for one in found if not one.is_level]
    points = [f"Points of {metric}, with 95 % intervals over seeds: {'; '.join(added)}"] if added else []
    return f"{name}: {'. '.join([*levels, *points])}."


def _contribution(one: Contribution) -> str:
    points = one.points
    # What is subtracted stands in the table.
    who = one.compared.partition(" - ")[0]
    change = f"{one.part}, {who}: {decimal(100 * points.mean, signed=True)}"
    if not one.varies or points.low is None or points.high is None:
        return change
    unsure = "" if points.excludes_zero else ", not distinguishable from 0"
    return f"{change} ({decimal(100 * points.low, signed=True)} to {decimal(100 * points.high, signed=True)}{unsure})"


def _variance(table: VarianceTable) -> str:
    rows = sorted(table.rows, key=lambda row: -row.share.value)
    shares = [f"{row.source} {100 * row.share.value:.0f} % ({_ends(row.share)})" for row in rows]
    return f"Variance of {table.metric}, {table.name}: {'; '.join(shares)}."


def _ends(share: Estimate) -> str:
    return f"{100 * (share.low or 0):.0f} to {100 * (share.high or 0):.0f}"


def _agreements(found: Sequence[RankAgreement]) -> str:
    if len(found) <= MAX_PAIRS_IN_WORDS:
        return " ".join(map(_agreement, found))
    values = sorted(one.spearman.value for one in found)
    low, high = (decimal(value, 2, signed=True) for value in (values[0], values[-1]))
    return f"Spearman's correlation of the losses' order on two benchmarks is {low} to {high} ({len(found)} pairs)."


def _agreement(one: RankAgreement) -> str:
    found = f"Spearman's correlation {decimal(one.spearman.value, 2, signed=True)}"
    lead = f"The order of {len(one.losses)} losses on {one.first}, and on {one.second}, has {found}"
    low, high = one.spearman.low, one.spearman.high
    if low is None or high is None:
        return f"{lead}; these are too few losses for an interval."
    unsure = ", so it is not shown that the orders agree" if low <= 0 <= high else ""
    return f"{lead} (95 % interval {decimal(low, 2, signed=True)} to {decimal(high, 2, signed=True)}){unsure}."


def _predictor(name: str, found: Sequence[Prediction]) -> str:
    """Return the sentence about the measurement with the strongest correlation that is no test of the classes."""
    predictors = [one for one in found if one.is_predictor]
    best = max(predictors, key=lambda one: abs(one.over_runs.value), default=None)
    if best is None:
        return f"On {name}, no measurement could predict a run."
    correlation = best.over_runs
    if correlation.low is None or correlation.high is None:
        return f"On {name}, {best.losses} losses are too few to say which measurement predicts a run."
    lead = (
        f"On {name}, the strongest rank correlation of {len(predictors)} measurements with the result of a run is "
        f"{decimal(correlation.value, 2, signed=True)}, of {best.measurement}, over {best.runs} runs of {best.losses} losses"
    )
    ends = f"{decimal(correlation.low, 2, signed=True)} to {decimal(correlation.high, 2, signed=True)}"
    unsure = ", so it may predict nothing" if correlation.low <= 0 <= correlation.high else ""
    return f"{lead} (95 % interval {ends}{unsure})."
