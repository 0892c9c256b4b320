from pathlib import Path
from typing import get_args

import pytest

from pairlens.analysis.loss_table import LOSS_CARDS, card_of
from pairlens.losses import Circle, Loss

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "losses.md").read_text(encoding="utf-8")


def test_every_loss_has_a_line():
    assert {entry.loss for entry in LOSS_CARDS} == set(get_args(Loss))
    assert card_of(Circle).parameters == "margin 0.4, gamma 80"
    with pytest.raises(ValueError, match="str has no line"):
        card_of(str)


@pytest.mark.parametrize("entry", LOSS_CARDS, ids=lambda entry: entry.name)
def test_the_page_shows_the_line_and_its_figure_as_they_are_now(entry):
    assert entry.markdown("images/losses") in PAGE, "run make docs"
    assert (DOCS / "images" / "losses" / entry.figure).is_file(), "run make docs"


def test_no_row_of_the_page_is_of_a_loss_that_is_gone():
    rows = [line for line in PAGE.partition("<!-- /catalogue -->")[0].splitlines() if line.startswith("| `")]
    assert len(rows) == len(LOSS_CARDS)
