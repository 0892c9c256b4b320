from dataclasses import replace

import numpy as np
import pytest

from pairlens.collection.explanation_figure import (
    BAR,
    BAR_LEFT,
    HEIGHT,
    MARGIN,
    PHOTO_TOP,
    SIDE,
    SMALL,
    WIDTH,
    draw_explanation,
)
from pairlens.collection.match_explanation import DescriptorPart, MatchExplanation
from pairlens.plotting.lettering import Lettering

FIRST, SECOND = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
GREY = np.full((64, 64, 3), 128, dtype=np.uint8)
NAMES = ("a.jpg", "b.jpg")


def explanation(maps=((0.4, 0.1, 0.1, -0.1), (0.2, 0.2, 0.05, 0.05)), is_exact=True, photos=(GREY, GREY)):
    arrays = tuple(np.array(one, dtype=np.float32).reshape(2, 2) for one in maps)
    parts = {"S": DescriptorPart(arrays, 0.5)} if is_exact else {}
    return MatchExplanation(*photos, arrays, parts, 0.5, is_exact)


def pixels(shown, names=NAMES):
    return np.asarray(draw_explanation(shown, names)).astype(int)


def photo_of(picture, column):
    """The first or the second photo with its map."""
    left = MARGIN + column * (BAR_LEFT - MARGIN) // 2
    return picture[PHOTO_TOP : PHOTO_TOP + SIDE, left : left + SIDE]


def words_of(monkeypatch, shown, names=NAMES):
    """All texts of a figure."""
    words = []
    draw = Lettering.draw
    with monkeypatch.context() as patch:
        patch.setattr(
            Lettering, "draw", lambda self, *args, **style: words.append(args[2]) or draw(self, *args, **style)
        )
        draw_explanation(shown, names)
    return words


def test_it_has_its_size_and_its_words(monkeypatch):
    picture = draw_explanation(explanation(), NAMES)
    assert picture.size == (WIDTH, HEIGHT)
    assert picture.mode == "RGB"
    words = words_of(monkeypatch, explanation())
    assert "the parts of each map add up to the score" in words
    assert "Cosine similarity 0.500" in words
    assert "By descriptor: S (mean) 0.500 = 0.500" in words
    # The sums of the first map, of the second one, and the ends of the colour scale.
    assert {"raise the cosine: +0.600", "lower the cosine: −0.100"} <= set(words)
    assert {"raise the cosine: +0.500", "lower the cosine: 0"} <= set(words)
    assert {"+0.4000", "0", "−0.4000"} <= set(words)


def test_a_picture_that_is_not_exact_says_so_and_gives_no_numbers(monkeypatch):
    words = words_of(monkeypatch, explanation(maps=((1, 0, 0, 0), (0, 0, 0, -0.5)), is_exact=False))
    assert "gradient × input: not an exact split" in words
    assert not any("add up" in word or "raise the cosine" in word or "By descriptor" in word for word in words)


def test_colours_follow_the_maps():
    picture = pixels(explanation(maps=((1, 0, 0, 0), (0, 0, 0, -1))))
    first, second = photo_of(picture, 0), photo_of(picture, 1)
    corner = slice(0, SIDE // 8)
    # Orange is red without blue, blue the other way around; elsewhere the photo stays grey.
    assert (first[corner, corner, 0] - first[corner, corner, 2]).min() > 60
    assert (second[-SIDE // 8 :, -SIDE // 8 :, 2] - second[-SIDE // 8 :, -SIDE // 8 :, 0]).min() > 60
    assert np.ptp(first[-1, -1]) < 12
    assert np.ptp(second[0, 0]) < 12


def test_both_maps_have_one_colour_scale():
    large = pixels(explanation(maps=((1, 1, 1, 1), (0.25, 0.25, 0.25, 0.25))))
    strength = [np.ptp(photo_of(large, column)[SIDE // 2, SIDE // 2]) for column in (0, 1)]
    assert strength[1] == pytest.approx(strength[0] / 4, abs=3)


def test_it_changes_with_the_maps_and_the_photos():
    one = pixels(explanation())
    assert np.array_equal(one, pixels(explanation()))
    other = pixels(explanation(maps=((0.1, 0.4, 0.1, -0.1), (0.2, 0.2, 0.05, 0.05))))
    assert not np.array_equal(photo_of(one, 0), photo_of(other, 0))
    assert np.array_equal(photo_of(one, 1), photo_of(other, 1))
    photos = pixels(explanation(photos=(FIRST, SECOND)))
    assert not np.array_equal(photo_of(photos, 0), photo_of(photos, 1))


def test_maps_of_zeros_leave_the_photos_grey():
    picture = pixels(replace(explanation(maps=((0, 0, 0, 0), (0, 0, 0, 0))), score=0.0))
    assert np.ptp(photo_of(picture, 0), axis=2).max() == 0


@pytest.mark.parametrize("name", ["$x_1^{2}$ \\frac", "写真.jpg", "a" * 5000, "", "line\nbreak\x00"])
def test_any_name_can_be_drawn_and_touches_no_edge(name):
    picture = pixels(explanation(), (name, name))
    assert (picture[:, -8:] == 255).all()
    assert (picture[-8:] == 255).all()
    # Nothing between the two headings.
    assert (picture[PHOTO_TOP - 96 : PHOTO_TOP - 12, BAR_LEFT // 2 + 6 : BAR_LEFT // 2 + 8] == 255).all()


def test_the_numbers_of_the_scale_fit():
    assert BAR_LEFT + BAR + 6 + SMALL.width("−0.0000") < WIDTH - 8


def test_three_descriptors_with_negative_shares_fit():
    one = explanation()
    parts = {letter: DescriptorPart(one.maps, share) for letter, share in (("S", -0.1), ("M", 0.4), ("G", 0.2))}
    picture = pixels(replace(one, by_descriptor=parts))
    assert (picture[:, -8:] == 255).all()


def test_other_than_two_names_are_refused():
    with pytest.raises(ValueError, match="give two names"):
        draw_explanation(explanation(), ("a.jpg",))
    with pytest.raises(ValueError, match="give two names"):
        draw_explanation(explanation(), "ab")
