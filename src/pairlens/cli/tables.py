"""Tables on the terminal: metrics, audits, statistics of embeddings, losses, and recipes as text."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table as TerminalTable

from pairlens.analysis.loss_card import COLUMNS
from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.core.settings import flat_settings
from pairlens.core.table import Table
from pairlens.core.untrusted import strip_control_characters
from pairlens.evaluation.evaluate import Report, counted_classes
from pairlens.experiments.recipes import Recipe
from pairlens.losses.loss_text import command_name
from pairlens.report.result_table import headline_metrics, select_columns

# Every command imports this module; the audit and the inspection bring their figures with them.
if TYPE_CHECKING:
    from pairlens.analysis.audit import Audit
    from pairlens.analysis.inspection import Inspection

VERDICT_COLORS = {"pass": "green", "note": "yellow", "fail": "bold red"}
# A column takes its widest cell, a space on both sides, and a line.
COLUMN_FRAME = 3
# Longer names are broken into several lines, so that the numbers beside them find space.
MAX_NAME_WIDTH = 28


def report_table(reports: Sequence[tuple[str, Report]], title: str, all_metrics: bool = False) -> Table:
    """Return one row of metrics in percent per report.

    Args:
        reports: a name and a report for each row.
        title: what was measured.
        all_metrics: whether to show every metric, and not only R@K of the least and greatest K, P@K, MAP@R and the
            further metrics.
    """
    first = reports[0][1]
    names = [metric.name for metric in first.metrics]
    rows = [(name, *(metric.percent() for metric in report.metrics)) for name, report in reports]
    table = Table(title, ("model", *names), rows, _report_notes(reports))
    return table if all_metrics else select_columns(table, ["model", *headline_metrics(names)], title)


def _report_notes(reports: Sequence[tuple[str, Report]]) -> list[str]:
    report = reports[0][1]
    metric = report.metrics[0].name
    intervals = [(name, r.metrics[0]) for name, r in reports]
    ranges = ", ".join(f"{name} {100 * m.low:.1f} to {100 * m.high:.1f}" for name, m in intervals)
    classes = counted_classes(report.classes, report.seen_classes, report.one_class)
    notes = [
        f"percent; {report.queries} queries of {classes} against {report.gallery} photos",
        f"95 % interval of {metric} over classes: {ranges}",
    ]
    if report.left_out:
        notes.append(f"{report.left_out} queries are left out, because no other photo has their class")
    return notes + [str(r.approximation) for _, r in reports if r.approximation is not None]


def terminal_tables(table: Table, width: int) -> Iterator[TerminalTable]:
    """Yield a table of numbers as one table of the terminal, or as several that repeat its first column.

    A number is never broken or cut: columns that do not fit beside each other go to the next table. The notes are left to
    the caller, who has the full width for them.

    Args:
        table: its first column names the rows.
        width: of the terminal, in characters.
    """
    cells = [table.header, *table.rows]
    widths = [max(cell_len(row[column]) for row in cells) + COLUMN_FRAME for column in range(len(table.header))]
    name_width = min(widths[0], MAX_NAME_WIDTH + COLUMN_FRAME) + 1
    # Columns fill one table after the other, each as wide as the terminal allows.
    groups: list[list[int]] = [[]]
    for column, needed in enumerate(widths[1:], 1):
        if groups[-1] and name_width + sum(widths[c] for c in groups[-1]) + needed > width:
            groups.append([])
        groups[-1].append(column)
    for number, columns in enumerate(groups):
        terminal = _empty_table("" if number else table.title)
        terminal.add_column(escape(table.header[0]), overflow="fold")
        for column in columns:
            terminal.add_column(escape(table.header[column]), justify="right", no_wrap=True)
        for row in table.rows:
            style = "bold" if table.is_bold(row) else None
            terminal.add_row(*(escape(row[column]) for column in (0, *columns)), style=style)
        yield terminal


def _empty_table(title: str) -> TerminalTable:
    shown = escape(strip_control_characters(title)) or None
    return TerminalTable(title=shown, title_justify="left", title_style="bold", box=box.ROUNDED)


def audit_table(result: "Audit") -> TerminalTable:
    """Return the results of an audit, one check per row."""
    table = _empty_table(result.name)
    for name in ("check", "verdict", "evidence"):
        table.add_column(name, overflow="fold")
    for finding in result.findings:
        color = VERDICT_COLORS[finding.verdict]
        table.add_row(finding.check, f"[{color}]{finding.verdict}[/]", escape(finding.evidence))
    return table


def inspection_table(inspection: "Inspection", title: str) -> Table:
    """Return the statistics of training and test photos, one per row, by their plain names."""
    from pairlens.report.sections import open_set_notes, shape_table

    # The sentences of the report page are left out here, where they would break into many lines.
    block = shape_table(inspection)
    explained = "docs/analysis.md explains each statistic; inspection.csv has them by their short names."
    notes = (explained, *open_set_notes(inspection))
    return Table(title, block.table.header, block.table.rows, notes)


def losses_table() -> TerminalTable:
    """Return one table of all losses, one per row."""
    title = "s is a cosine, d a distance of unit vectors; costs come on top of B² D for the similarities"
    table = TerminalTable(title=title, show_lines=True)
    for name in COLUMNS:
        # A name that is broken into two lines could not be copied to the command line.
        table.add_column(name, overflow="fold", no_wrap=name == COLUMNS[0])
    for e in LOSS_CARDS:
        table.add_row(
            command_name(e.loss), escape(e.formula), e.parameters, e.pushes, e.cost, escape(e.use), e.references
        )
    return table


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe in full: its source, what differs from the paper, and every setting."""
    settings = [f"{name}={value}" for name, value in flat_settings(recipe.experiment).items()]
    body = textwrap.fill("  ".join(settings), 116, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    return f"{recipe.name}\n  from: {recipe.source}\n  differs: {recipe.differs}\n{body}\n"
