import io
from dataclasses import replace

import torch
from rich.console import Console

from pairlens.cli.console import Display, open_console
from pairlens.cli.tables import report_table
from pairlens.evaluation.evaluate import evaluate
from pairlens.experiments.run_folder import EpochRow
from pairlens.training.fit import Step

REPORT = evaluate(torch.eye(4)[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 1]), recalls=(1, 2))
ROW = EpochRow(3, 1.25, 0.5, REPORT, 0.75, 0.125, 61.0)


def shown(*events, terminal=False):
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
    with Display(console, epochs=5, title="run") as display:
        display._clock.last_line = 0.0
        for event in events:
            display.show(event)
    return console.file.getvalue()


def test_an_epoch_is_one_line_with_its_figures():
    text = shown(ROW)
    assert text.count("\n") == 1
    for figure in ("epoch 3/5", "loss 1.2500", "accuracy 50.0 %", "R@1 50.00", "P@2 25.00", "s_p 0.750", "s_n 0.125"):
        assert figure in text


def test_the_untrained_model_is_called_so():
    assert "untrained" in shown(replace(ROW, epoch=0, train_loss=None, train_accuracy=None))


def test_a_pipe_gets_plain_lines_with_speed_and_time_left():
    text = shown(Step(1, 1, 10, 32, 2.0, 0.25))
    assert "images/s" in text
    assert "step 1/10" in text
    assert "left" in text
    assert "\x1b" not in text


def test_a_terminal_gets_a_bar_with_loss_and_accuracy():
    text = shown(Step(1, 1, 10, 32, 2.0, 0.25), terminal=True)
    assert "loss 2.0000" in text
    assert "1/10" in text


def test_a_table_has_a_row_a_model_and_says_what_it_is_of():
    console = Console(file=io.StringIO(), width=200)
    console.print(report_table([("untrained", REPORT), ("trained", REPORT)], "title"))
    text = console.file.getvalue()
    assert text.count("50.0") >= 4
    assert "4 queries of 2 unseen classes" in text


def test_output_into_a_file_is_wide():
    assert open_console().width == 160
