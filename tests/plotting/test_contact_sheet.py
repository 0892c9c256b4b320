"""Contact sheets: signs beside colours."""

import numpy as np
from PIL import Image

from pairlens.plotting.contact_sheet import BORDER, RIGHT, SIDE, SIGN_SIDE, UNKNOWN, WRONG, Tile


def sign_of(color):
    """The corner in which the sign is, white on the disc as 1 and everything else as 0."""
    picture = Tile(Image.new("RGB", (36, 36), (0, 0, 255)), "first", "second", color).drawn()
    left, top = SIDE - SIGN_SIDE - BORDER // 2, BORDER // 2
    corner = np.asarray(picture.crop((left + 6, top + 6, left + SIGN_SIDE - 6, top + SIGN_SIDE - 6)))
    return (corner.min(axis=2) > 200).astype(int)


def test_right_and_wrong_have_different_signs_and_others_none():
    right, wrong = sign_of(RIGHT), sign_of(WRONG)
    assert right.sum() > 50
    assert wrong.sum() > 50
    assert (right != wrong).mean() > 0.1
    # A cross is symmetric, a check mark is not.
    assert (wrong != wrong[:, ::-1]).mean() < 0.1
    assert (right != right[:, ::-1]).mean() > 0.1
    assert sign_of(UNKNOWN).sum() == sign_of(None).sum() == 0
