import time

import pytest

from pairlens.experiments.learning_curves import SECONDS_BETWEEN, draw_if_due
from pairlens.experiments.run_folder import RunFolder


@pytest.fixture
def outcome(compared):
    return RunFolder(compared / "runs/bars/triplet/seed0").read_outcome()


def test_curves_are_drawn_at_the_end_and_otherwise_once_in_a_while(outcome, tmp_path):
    file = tmp_path / "curves.png"
    now = time.perf_counter()
    assert draw_if_due(outcome, "run", file, now, is_finished=False) == now
    assert not file.exists()
    assert draw_if_due(outcome, "run", file, now - SECONDS_BETWEEN, is_finished=False) > now
    file.unlink()
    assert draw_if_due(outcome, "run", file, now, is_finished=True) > now
    assert file.is_file()
