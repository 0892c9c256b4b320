"""Tables on the terminal: reports, audits, inspections, losses, and recipes as text."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields

from rich.markup import escape
from rich.table import Table

from pairlens.analysis.audit import Audit
from pairlens.analysis.inspection import Inspection
from pairlens.analysis.loss_table import COLUMNS, LOSS_CARDS
from pairlens.core.untrusted import strip_control_characters
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.recipes import Recipe


def report_table(reports: Sequence[tuple[str, Report]], title: str) -> Table:
    """Return one table of reports in percent: a row each, a column a metric, the first metric's interval below."""
    table = Table(
        title=escape(strip_control_characters(title)),
        title_justify="left",
        caption=escape(_caption(reports)),
        caption_justify="left",
    )
    table.add_column("model")
    for metric in reports[0][1].metrics:
        table.add_column(metric.name, justify="right", no_wrap=True)
    for name, report in reports:
        table.add_row(name, *(f"{100 * m.value:.1f}" for m in report.metrics))
    return table


def _caption(reports: Sequence[tuple[str, Report]]) -> str:
    report = reports[0][1]
    first = report.metrics[0].name
    intervals = ", ".join(
        f"{name} {100 * r.metrics[0].low:.1f} to {100 * r.metrics[0].high:.1f}" for name, r in reports
    )
    left_out = f"; {report.left_out} queries without a right item left out" if report.left_out else ""
    approximate = "" if report.approximation is None else f"; {report.approximation}"
    return (
        f"percent; {report.queries} queries of {report.classes} unseen classes against {report.gallery} photos{left_out}. "
        f"95 % interval of {first} over classes: {intervals}{approximate}"
    )


def audit_table(found: Audit) -> Table:
    """Return what an audit found, a line a check."""
    table = Table(title=escape(found.name), title_justify="left")
    for name in ("check", "verdict", "evidence"):
        table.add_column(name, overflow="fold")
    colors = {"pass": "green", "note": "yellow", "fail": "bold red"}
    for f in found.findings:
        table.add_row(f.check, f"[{colors[f.verdict]}]{f.verdict}[/]", escape(f.evidence))
    return table


def inspection_table(found: Inspection, title: str) -> Table:
    """Return the shape of seen and unseen classes, a row a metric."""
    table = Table(
        title=escape(strip_control_characters(title)),
        title_justify="left",
        caption="docs/analysis.md says what each is",
        caption_justify="left",
    )
    for name in ("metric", "seen classes", "unseen classes"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, *values in found.rows():
        table.add_row(name, *("-" if v is None else str(v) if isinstance(v, int) else f"{v:.4g}" for v in values))
    return table


def losses_table() -> Table:
    """Return one table of all losses, a row each."""
    table = Table(title="s cosine, d distance of unit vectors; costs beside B² D of the similarities", show_lines=True)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for e in LOSS_CARDS:
        table.add_row(e.name.lower(), escape(e.formula), e.parameters, e.pushes, e.cost, escape(e.use), e.references)
    return table


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe in full: where it is from, what differs, and every setting."""
    experiment = recipe.experiment
    settings = [f"{f.name}={getattr(experiment, f.name)}" for f in fields(experiment)]
    body = textwrap.fill("  ".join(settings), 116, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    return f"{recipe.name}\n  from: {recipe.source}\n  differs: {recipe.differs}\n{body}\n"
