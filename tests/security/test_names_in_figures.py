"""A name with the characters of a formula is drawn as it is: Matplotlib reads text between dollar signs as mathematics."""

import pytest

from pairlens.comparison.figures import draw_comparison
from pairlens.comparison.results import Results
from pairlens.comparison.statistics import measure
from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.learning_curves import draw_learning_curves
from pairlens.experiments.run_folder import RunFolder

NAMES = [r"$\x$", r"\$\x$", r"$$\frac$", "$", r"\\$\x\\$", "a_b^c{d}"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_run_is_drawn_as_it_is(compared, tmp_path, name):
    outcome = RunFolder(compared / "runs/bars/circle-10/seed0").read_outcome()
    file = tmp_path / "curves.svg"
    draw_learning_curves(outcome, name, file)
    # The SVG holds its texts as texts.
    assert f">{name}<" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_loss_is_drawn_as_it_is(compared, tmp_path, name):
    plain = to_plain(measure(compared))
    plain["fields"][0]["name"] = name
    plain["fields"][0]["losses"][0]["name"] = name
    first = plain["fields"][0]["differences"][0]
    losses = [one["name"] for one in plain["fields"][0]["losses"]]
    first["first"], first["second"] = losses
    for _, picture in draw_comparison(from_plain(Results, plain), tmp_path):
        assert picture.file.is_file()
