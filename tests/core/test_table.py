"""The table record: one text per format, with every cell escaped."""

import csv
import io

import pytest

from pairlens.core.table import Table, csv_text, latex_text

TABLE = Table(
    "Losses of 50 %",
    ("loss", "R@1"),
    (("a|b_%", "50.0 ± 1.0"), ("plain, with a comma", "40.0")),
    bold=frozenset({"a|b_%"}),
)


def test_markdown_escapes_what_would_end_a_cell_and_marks_bold_rows():
    assert TABLE.markdown().splitlines() == [
        "| loss | R@1 |",
        "| --- | ---: |",
        r"| **a\|b_%** | 50.0 ± 1.0 |",
        "| plain, with a comma | 40.0 |",
    ]
    assert "a b" in Table("", ("x",), (("a\nb",),)).markdown()


def test_latex_escapes_its_commands_and_has_the_title_as_caption():
    text = TABLE.latex()
    assert r"\caption{Losses of 50 \%}" in text
    assert r"\textbf{a|b\_\%} & 50.0 $\pm$ 1.0 \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert latex_text("\\^~{") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}\{"


def test_csv_is_read_back_as_it_was():
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [list(TABLE.header), *map(list, TABLE.rows)]


def test_cells_of_text_are_aligned_to_the_left():
    table = Table("", ("name", "words"), (("a", "b"),), textual=True)
    assert "| --- | --- |" in table.markdown()
    assert r"\begin{tabular}{ll}" in table.latex()


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 1 cells, but there are 2 columns"):
        Table("t", ("a", "b"), (("x",),))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠"])
def test_a_text_cell_that_a_spreadsheet_would_run_is_escaped_and_a_number_is_not(start):
    row = (f"{start}1+cmd|' /C calc'!A0", "-0.5", "+1e-3", -2.5, None, "plain=1")
    (cells,) = csv.reader(io.StringIO(csv_text([row]), newline=""))
    assert cells == [f"'{start}1+cmd|' /C calc'!A0", "-0.5", "+1e-3", "-2.5", "", "plain=1"]
