"""Result tables of a comparison: a short one for a screen, and the complete one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pairlens.comparison.results import BenchmarkResult
from pairlens.comparison.tables import comparison_table, post_table
from pairlens.core.table import Table
from pairlens.evaluation.metric_definitions import is_standard

# Losses become the columns of the complete table if they are no more than these, the baselines included.
MAX_COLUMNS = 5
TRAINING_COLUMNS = ("mean s_p", "mean s_n", "seconds", "seeds")
COMPLETE_NOTES = ("Percent; s_p and s_n are mean cosines of test pairs, seconds are of a whole run.",)
ONE_SEED_NOTE = "Percent, of one seed. In brackets: 95 % interval of {metric} over the test classes (bootstrap)."


@dataclass(frozen=True)
class ResultTables:
    """The results on one benchmark, one row per loss, the highest mean first, the baselines last.

    Attributes:
        short: the ranking metric with its intervals, Recall@K for the least and the greatest K, and the further metrics.
        all_columns: every measurement.
        complete: the same in one or two tables that fit a page.
        post: the losses after post-processing; None if the study does not ask for it.
    """

    short: Table
    all_columns: Table
    complete: Sequence[Table]
    post: Table | None = None


def result_tables(result: BenchmarkResult) -> ResultTables:
    """Return the tables of one benchmark."""
    table = comparison_table(result)
    cells = _unbroken_rows(table)
    has_seeds = any(len(loss.seeds) > 1 for loss in result.losses)
    complete = Table(f"All measurements on {result.name}", table.header, cells, COMPLETE_NOTES, table.bold)
    measured = headline_metrics([metric.name for metric in result.losses[0].metrics])
    others = [name for name in measured if name.startswith("R@") or not is_standard(name)]
    shown = [name for name in others if name != result.metric]
    columns = [table.header[0], result.metric, f"{result.metric} over classes", *shown]
    short = replace(
        select_columns(complete, columns, f"Losses on {result.name}, best first"),
        notes=table.notes if has_seeds else (ONE_SEED_NOTE.format(metric=result.metric),),
    )
    after = post_table(result)
    post = None if after is None else replace(after, rows=_unbroken_rows(after))
    return ResultTables(short, complete, _fit_page(complete), post)


def _unbroken_rows(table: Table) -> list[list[str]]:
    return [[row[0], *map(unbroken, row[1:])] for row in table.rows]


def _fit_page(table: Table) -> list[Table]:
    """Return a wide table turned round if it has few rows, or else as two tables."""
    if len(table.rows) <= MAX_COLUMNS:
        names = [row[0] for row in table.rows]
        cells = [[column, *(row[index] for row in table.rows)] for index, column in enumerate(table.header) if index]
        return [Table(table.title, ("measurement", *names), cells, table.notes)]
    loss, *columns = table.header
    # Recall and the metric over classes say how well photos are found; precision, cosines and seconds follow apart.
    others = [name for name in columns if name.startswith("P@") or name in TRAINING_COLUMNS]
    retrieval = [name for name in columns if name not in others]
    return [
        select_columns(table, [loss, *retrieval], table.title),
        select_columns(table, [loss, *others], f"{table.title}, continued"),
    ]


def headline_metrics(names: Sequence[str]) -> list[str]:
    """Return the few metrics that a screen has space for: R@K of the least and greatest K, P@K of the greatest, MAP@R.

    Further metrics were asked for, so they are shown too; of several mAP@K that of the greatest K.

    >>> headline_metrics(["R@1", "R@2", "R@8", "P@1", "P@2", "P@8", "R-Precision", "MAP@R", "mAP@1", "mAP@8", "MRR"])
    ['R@1', 'R@8', 'P@8', 'MAP@R', 'mAP@8', 'MRR']
    """
    recalls = [name for name in names if name.startswith("R@")]
    precisions = [name for name in names if name.startswith("P@")]
    average_precisions = [name for name in names if name.startswith("mAP@")]
    further = [name for name in names if not is_standard(name) and name not in average_precisions]
    wanted = {*recalls[:1], *recalls[-1:], *precisions[-1:], "MAP@R", *average_precisions[-1:], *further}
    return [name for name in names if name in wanted]


def unbroken(cell: str) -> str:
    """Return a cell whose line can break before "±" and "[", but neither after them nor within the brackets."""
    return cell.replace("± ", "±\N{NO-BREAK SPACE}").replace(", ", ",\N{NO-BREAK SPACE}")


def select_columns(table: Table, names: Sequence[str], title: str) -> Table:
    """Return a table with some columns only, in the order of `names`."""
    columns = [list(table.header).index(name) for name in names]
    cells = [[row[column] for column in columns] for row in table.rows]
    return Table(title, names, cells, table.notes, table.bold, table.textual)
