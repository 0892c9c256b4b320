import io
import re
from dataclasses import replace

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from pairlens.cli.console import Display, show_table
from pairlens.cli.tables import report_table
from pairlens.cli.terminal import open_console
from pairlens.core.table import Table
from pairlens.evaluation.evaluate import evaluate
from pairlens.experiments.outcome import EpochRow
from pairlens.training.fit import Step

REPORT = evaluate(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 1]), recalls=(1, 2))
ROW = EpochRow(3, 1.25, 0.5, REPORT, 0.75, 0.125, 61.0)


def shown(*events, terminal=False):
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
    with Display(console, epochs=5, title="run") as display:
        display._last_line = -1e9
        for event in events:
            display.show(event)
    return console.file.getvalue()


def test_an_epoch_is_one_line_with_its_figures():
    text = shown(ROW)
    assert text.count("\n") == 1
    for figure in ("epoch 3/5", "loss 1.2500", "accuracy 50.0 %", "R@1 50.00", "P@2 25.00", "s_p 0.750", "s_n 0.125"):
        assert figure in text


def test_epoch_0_is_the_model_before_training():
    assert "before training" in shown(replace(ROW, epoch=0, train_loss=None, train_accuracy=None))


def test_a_pipe_gets_plain_lines_with_speed_and_time_left(monkeypatch):
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    clock = iter(range(1000))
    with Display(console, epochs=5) as display:
        # One second per reading of the clock; the lines are not limited to one in a number of seconds.
        display._bar.get_time = lambda: next(clock)
        monkeypatch.setattr("pairlens.cli.console.SECONDS_BETWEEN_LINES", -1.0)
        for step in range(1, 11):
            display.show(Step(1, step, 10, 32, 2.0, 0.25))
    first, *_, last = console.file.getvalue().splitlines()
    assert "epoch 1/5  loss 2.0000  accuracy 25.0 %" in first
    assert "step 10/10" in last
    speed, left = re.search(r"(\d+) images/s.*about (\d+):(\d+):(\d+) left", last).group(1, 4)
    assert 0 < int(speed) <= 32
    assert int(left) > 0
    assert "\x1b" not in console.file.getvalue()


def test_a_pipe_gets_a_line_only_every_so_many_seconds():
    console = Console(file=io.StringIO(), width=200)
    with Display(console, epochs=5) as display:
        for step in range(1, 11):
            display.show(Step(1, step, 10, 32, 2.0, 0.25))
    assert console.file.getvalue() == ""


def test_a_terminal_gets_a_bar_over_all_epochs_with_loss_accuracy_and_time_left():
    text = shown(Step(1, 1, 10, 32, 2.0, 0.25), terminal=True)
    assert "loss 2.0000" in text
    assert "accuracy 25.0 %" in text
    assert "1/50" in text
    assert "-:--:--" in text, "the remaining time is unknown after one step"


def test_a_table_has_one_row_per_model_and_says_what_was_measured():
    console = Console(file=io.StringIO(), width=200)
    show_table(console, report_table([("before training", REPORT), ("trained", REPORT)], "title"))
    text = console.file.getvalue()
    assert text.count("50.0") >= 4
    assert "4 queries of 2 unseen classes" in text


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("names", [("before training", "trained"), ("a loss whose name has many letters " * 2, "b")])
def test_a_number_is_never_split_nor_cut(width, names):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    cells = [[name, *(f"{17.1 + column:.1f} ±\xa0{7.3 + column:.1f}" for column in range(9))] for name in names]
    header = ["loss", *(f"R@{2**column}" for column in range(9))]
    show_table(console, Table("A title", header, cells, ("a note",), frozenset(names[1:])))
    lines = console.file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for row in cells:
        assert all(cell in text for cell in row[1:])
    assert all(name in text for name in header)
    assert text.count("a note") == 1


def test_few_columns_are_shown_by_default_and_all_on_demand():
    few = report_table([("trained", REPORT)], "title")
    assert few.header == ["model", "R@1", "R@2", "P@2", "MAP@R"]
    everything = report_table([("trained", REPORT)], "title", all_metrics=True)
    assert everything.header == ("model", *(metric.name for metric in REPORT.metrics))


def test_output_into_a_file_is_wide():
    assert open_console().width == 160
