"""The tables of what a whole study shows: variance, agreement of benchmarks, predictors, contributions."""

from collections.abc import Callable, Sequence

from pairlens.comparison.findings import Contribution, Estimate, Findings, Prediction, RankAgreement, VarianceTable
from pairlens.core.table import Table, decimal

VARIANCE_NOTE = (
    "Points: standard deviation in percentage points; in brackets, the 95 % fiducial interval. The shares of a metric add "
    "up to 100 % of the variance of one run, or of one trial of the tuning. The control without a pairwise loss is not "
    "counted as a loss."
)
NEGATIVE = "*: the unbiased estimate is below 0, so 0 is shown."
AGREEMENT_NOTE = (
    "Rank correlations of the losses' means; in brackets, the 95 % interval over losses, which contains the variation over "
    "seeds. Limit: what two benchmarks with the same true order can be expected to reach with this variation over seeds. "
    "The control without a pairwise loss is not counted."
)
PREDICTION_NOTE = (
    "Spearman's correlation with {metric} on the test photos. Over all runs: with the 95 % jackknife interval over losses. "
    "Within a loss: mean over losses of the correlation over seeds, with the 95 % t-interval over losses. What needs the "
    "classes of the test photos is no predictor. One interval in twenty excludes 0 by chance."
)
CONTRIBUTION_NOTE = (
    "Points of {metric}, mean of the paired differences of runs with the same seed; in brackets, the 95 % t-interval over "
    "seeds. none: no pairwise loss. The best loss is chosen on these test photos, so its difference is too favourable."
)


def findings_tables(findings: Findings, metric: str) -> list[Table]:
    """Return every table that has rows, for Markdown and for the page.

    Args:
        findings: of the study.
        metric: the ranking metric.
    """
    tables = [
        contribution_table(findings.contributions, metric),
        variance_table(findings.variance),
        agreement_table(findings.agreements),
        *prediction_tables(findings.predictions, metric),
    ]
    return [table for table in tables if table.rows]


def variance_table(tables: Sequence[VarianceTable]) -> Table:
    """Return the sources of variance of every benchmark and metric."""
    rows, negative = [], False
    for table in tables:
        where = f"{table.name}: {table.metric}"
        left_out = f", {table.left_out} more runs left out" if table.left_out else ""
        if not table.rows:
            rows.append((where, f"not known: {table.reason}", "", "", table.design + left_out))
        for number, row in enumerate(table.rows):
            mark = "*" if row.is_negative else ""
            negative = negative or row.is_negative
            # The design is the same for all rows of a table.
            design = "" if number else table.design + left_out
            rows.append((where, row.source + mark, _points(row.deviation), _percent(row.share), design))
    notes = (VARIANCE_NOTE, *([NEGATIVE] if negative else []))
    return Table(
        "Where the variance comes from", ("where", "source", "points", "share", "measured"), rows, notes, textual=True
    )


def agreement_table(agreements: Sequence[RankAgreement]) -> Table:
    """Return the rank correlations of every two benchmarks."""
    header = ("benchmarks", "losses", "Spearman", "Kendall's tau-b", "limit")
    rows = [
        (
            f"{one.first}; {one.second}",
            str(len(one.losses)),
            _correlation(one.spearman),
            _correlation(one.kendall),
            "unknown" if one.limit is None else f"{one.limit:.2f}",
        )
        for one in agreements
    ]
    return Table("Do the benchmarks rank the losses alike?", header, rows, (AGREEMENT_NOTE,), textual=True)


def prediction_tables(predictions: Sequence[Prediction], metric: str) -> list[Table]:
    """Return a table for each benchmark, predictors first, the strongest correlation first."""
    header = ("measurement", "taken from", "over all runs", "within a loss", "runs")
    tables = []
    for benchmark in dict.fromkeys(prediction.benchmark for prediction in predictions):
        found = [prediction for prediction in predictions if prediction.benchmark == benchmark]
        found.sort(key=lambda one: (not one.is_predictor, -abs(one.over_runs.value)))
        rows = [
            (
                one.measurement,
                one.source if one.is_predictor else f"{one.source}: no predictor",
                _correlation(one.over_runs),
                "constant" if one.within_losses is None else _correlation(one.within_losses),
                f"{one.runs} of {one.losses} losses",
            )
            for one in found
        ]
        notes = (PREDICTION_NOTE.format(metric=metric),)
        tables.append(Table(f"What predicts a run: {benchmark}", header, rows, notes, textual=True))
    return tables


def contribution_table(contributions: Sequence[Contribution], metric: str) -> Table:
    """Return what each part contributes on every benchmark."""
    rows = [(one.benchmark, one.part, one.compared, contribution_text(one)) for one in contributions]
    notes = (CONTRIBUTION_NOTE.format(metric=metric),)
    header = ("benchmark", "part", "compared", "points")
    return Table("What each part contributes", header, rows, notes, textual=True)


def contribution_text(one: Contribution) -> str:
    """Return a level or a difference in points with its intervals."""
    points = one.points
    mean = decimal(100 * points.mean, signed=not one.is_level)
    over_classes = f", over classes {_ends(one, one.class_low, one.class_high)}" if one.class_low is not None else ""
    if not one.varies or points.low is None:
        return f"{mean} ({'one seed' if len(points.values) == 1 else 'equal for all seeds'}{over_classes})"
    return f"{mean} {_ends(one, points.low, points.high)}{over_classes}"


def _ends(one: Contribution, low: float | None, high: float | None) -> str:
    # A level has no sign, as in every other table.
    first, last = (decimal(100 * (end or 0.0), signed=not one.is_level) for end in (low, high))
    return f"[{first}, {last}]"


def _points(estimate: Estimate) -> str:
    return _with_interval(estimate, lambda value: decimal(100 * value, 2))


def _percent(estimate: Estimate) -> str:
    return _with_interval(estimate, lambda value: f"{100 * value:.0f} %")


def _correlation(estimate: Estimate) -> str:
    return _with_interval(estimate, lambda value: decimal(value, 2, signed=True))


def _with_interval(estimate: Estimate, text: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return text(estimate.value)
    return f"{text(estimate.value)} [{text(estimate.low)}, {text(estimate.high)}]"
