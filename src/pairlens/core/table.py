"""A table as a record, with its Markdown, LaTeX and CSV text.

Cells hold plain text without any markup; every renderer escapes them for its own format. The renderers that need more
than text, the HTML of `report.page` and the terminal tables of `cli.tables`, take the same record and escape the cells
themselves (Jinja's autoescape, `rich.markup.escape`).
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO

# How a text begins that a spreadsheet takes for a formula, the wide forms of East Asian keyboards among them. A tab or a
# line end in front of a formula is skipped.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# The characters that LaTeX takes for commands, each with what prints it. The keys are single characters, so that one
# pass over the text suffices and no replacement is escaped a second time.
LATEX = {
    **{character: "\\" + character for character in "%&_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Table:
    """A table whose rows are named by their first cells.

    Attributes:
        title: what the table holds; a heading or a caption.
        header: the names of the columns.
        rows: the cells, each row as long as the header.
        notes: sentences to print below the table, each a paragraph.
        bold: the names of the rows that stand out.
        textual: whether the cells are text, which is aligned to the left and wrapped, rather than numbers.

    Raises:
        ValueError: if a row has another number of cells than the header.

    >>> print(Table("speed", ("loss", "ms"), (("circle", "1.5"),), bold=frozenset({"circle"})).markdown())
    | loss | ms |
    | --- | ---: |
    | **circle** | 1.5 |
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    bold: frozenset[str] = frozenset()
    textual: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"row {row[:1]} of the table {self.title!r} has {len(row)} cells, but there are "
                    f"{len(self.header)} columns"
                )

    def is_bold(self, row: Sequence[str]) -> bool:
        """Return whether a row stands out."""
        return row[0] in self.bold

    def markdown(self) -> str:
        """Return the header and the rows as a Markdown table, without title and notes."""
        alignments = ["---", *(["---" if self.textual else "---:"] * (len(self.header) - 1))]
        rows = [self._with_bold_name(row, "**{}**", _markdown_cell) for row in self.rows]
        header = [_markdown_cell(name) for name in self.header]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, alignments, *rows))

    def latex(self) -> str:
        """Return the title as caption, the header and the rows as a LaTeX table; it needs the package booktabs."""
        columns = "l" + ("l" if self.textual else "r") * (len(self.header) - 1)
        rows = [self._with_bold_name(row, r"\textbf{{{}}}", latex_text) for row in self.rows]
        header = [latex_text(name) for name in self.header]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(self.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_line(header),
            r"\midrule",
            *map(_latex_line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the header and the rows as CSV with Unix line ends."""
        return csv_text([self.header, *self.rows])

    def _with_bold_name(self, row: Sequence[str], markup: str, escape: Callable[[str], str]) -> list[str]:
        # The markup is put around the escaped name, or it would be escaped with it.
        name, *cells = map(escape, row)
        return [markup.format(name) if self.is_bold(row) else name, *cells]


def _markdown_cell(text: str) -> str:
    # An upright stroke or a line break would end the cell.
    return " ".join(text.replace("|", "\\|").splitlines())


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def csv_text(rows: Iterable[Sequence[object]], line_end: str = "\n") -> str:
    r"""Return rows as CSV; every CSV file of Pairlens is written here.

    A spreadsheet runs a text cell that begins with one of `FORMULA_STARTS` as a formula, so such a text, which may be the
    path of a photo from anywhere, gets an apostrophe in front. Numbers stay as they are, None is an empty cell.

    >>> csv_text([("photo", "change"), ("=1+1", "-0.5")])
    "photo,change\n'=1+1,-0.5\n"
    """
    return "".join(_csv_line(row) + line_end for row in rows)


def _csv_line(row: Sequence[object]) -> str:
    buffer = StringIO(newline="")
    # With another line end, a cell with a carriage return would not be quoted and would end its row.
    csv.writer(buffer, lineterminator="\r\n").writerow([_csv_cell(cell) for cell in row])
    return buffer.getvalue().removesuffix("\r\n")


def _csv_cell(cell: object) -> object:
    is_formula = isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not _is_number(cell)
    return f"'{cell}" if is_formula else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def decimal(value: float, digits: int = 1, signed: bool = False) -> str:
    """Return a number with a fixed number of digits after the point; zero has no sign, also after rounding.

    >>> decimal(-0.04), decimal(0.04, signed=True), decimal(1.26, signed=True)
    ('0.0', '0.0', '+1.3')
    """
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def latex_text(text: str) -> str:
    r"""Return plain text as LaTeX prints it.

    >>> latex_text("R@1 of circle_4: 50 % ± 1")
    'R@1 of circle\\_4: 50 \\% $\\pm$ 1'
    """
    return "".join(LATEX.get(character, character) for character in text)
