from pathlib import Path
from typing import get_args

import pytest

from pairlens.analysis.loss_table import LOSS_CARDS, card_of
from pairlens.losses import Circle, Loss

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "losses.md").read_text(encoding="utf-8")


def test_every_loss_has_a_row():
    assert {entry.loss for entry in LOSS_CARDS} == set(get_args(Loss))
    assert card_of(Circle).parameters == "margin 0.4, gamma 80"
    with pytest.raises(ValueError, match="str has no row"):
        card_of(str)


@pytest.mark.parametrize("entry", LOSS_CARDS, ids=lambda entry: entry.name)
def test_the_page_shows_the_current_row_and_its_figure(entry):
    assert entry.markdown("images/losses") in PAGE, "run make docs"
    assert not entry.figure or (DOCS / "images" / "losses" / entry.figure).is_file(), "run make docs"


def test_the_page_has_no_row_of_a_removed_loss():
    rows = [line for line in PAGE.partition("<!-- /catalogue -->")[0].splitlines() if line.startswith("| `")]
    assert len(rows) == len(LOSS_CARDS)
