import numpy as np
import pytest

from pairlens.comparison.variance_components import (
    MeanSquare,
    Term,
    component_of,
    mean_squares,
    terms_of,
    variance_rows,
)
from support.naive import study_findings as naive

LOSS, SEED, BOTH = Term({0}), Term({1}), Term({0, 1})


def two_way(grid):
    """The unbiased components of losses, seeds and the rest."""
    squares = mean_squares(grid)
    return [component_of(term, grid.shape, BOTH).estimate(squares) for term in (LOSS, SEED, BOTH)]


def sources(shape):
    return {str(sorted(t)): [component_of(t, shape, BOTH)] for t in (LOSS, SEED, BOTH)}


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (3, 10)])
def test_components_agree_with_plain_loops(shape):
    grid = np.random.default_rng(1).normal(size=shape)
    assert two_way(grid) == pytest.approx(naive.two_way(grid.tolist()))


def test_mean_squares_add_up_to_the_whole_sum_of_squares():
    values = np.random.default_rng(2).normal(size=(4, 3, 2, 2))
    squares = mean_squares(values)
    assert len(squares) == 15
    assert sum(s.df for s in squares.values()) == values.size - 1
    assert sum(s.df * s.value for s in squares.values()) == pytest.approx(((values - values.mean()) ** 2).sum())


def test_a_factor_of_one_level_has_no_variance():
    with pytest.raises(ValueError, match="two levels or more"):
        mean_squares(np.ones((3, 1)))


def test_estimates_are_unbiased_and_intervals_cover():
    """600 studies of 6 losses and 4 seeds: standard errors of the means are below 4 %, of the coverage 0.9 %."""
    rng, true = np.random.default_rng(3), np.array([4.0, 1.0, 0.25])
    found, covered = [], np.zeros(3)
    for _ in range(600):
        loss, seed, rest = (
            s * rng.normal(size=n) for s, n in zip(np.sqrt(true), ((6, 1), (1, 4), (6, 4)), strict=True)
        )
        grid = loss + seed + rest
        found.append(two_way(grid))
        rows = variance_rows(mean_squares(grid), sources(grid.shape))
        covered += [row.deviation.low <= d <= row.deviation.high for row, d in zip(rows, np.sqrt(true), strict=True)]
    assert np.mean(found, axis=0) == pytest.approx(true, rel=0.12)
    assert (covered / 600 > 0.925).all(), covered / 600


def test_fixed_factors_are_unbiased_and_their_parts_add_up():
    """Losses × seeds × auxiliary loss off or on: the effect of the fixed factor is the same in every study."""
    rng, shape, random = np.random.default_rng(4), (5, 3, 2), BOTH
    fixed, found, covered = np.array([-1.0, 1.0]), [], 0
    terms = [LOSS, SEED, Term({2}), Term({0, 2}), BOTH, Term({1, 2}), Term({0, 1, 2})]
    components = [component_of(term, shape, random) for term in terms]
    for _ in range(500):
        # Effects of losses that differ between the two settings sum to 0 over them, as those of a fixed factor do.
        apart = rng.normal(size=(5, 1, 1)) * np.array([-1.0, 1.0])
        values = fixed + 2 * rng.normal(size=(5, 1, 1)) + apart + 0.5 * rng.normal(size=shape)
        squares = mean_squares(values)
        found.append([component.estimate(squares) for component in components])
        row = variance_rows(squares, {"setting": [components[2]], "rest": components[3:]})[0]
        covered += row.deviation.low <= 1.0 <= row.deviation.high
    # Variance of ±1, of the losses, of the losses' differences (±1 times a normal), and all parts with the seed together.
    means = np.mean(found, axis=0)
    assert [means[2], means[0], means[3], means[[1, 4, 5, 6]].sum()] == pytest.approx([1.0, 4.0, 1.0, 0.25], rel=0.12)
    assert covered / 500 > 0.92


def test_a_negative_estimate_is_shown_as_0_and_said():
    squares = {LOSS: MeanSquare(1.0, 4), SEED: MeanSquare(9.0, 2), BOTH: MeanSquare(2.0, 8)}
    loss, seed, rest = variance_rows(squares, sources((5, 3)))
    assert (loss.deviation.value, loss.share.value, loss.is_negative) == (0.0, 0.0, True)
    assert (seed.is_negative, rest.is_negative) == (False, False)
    assert seed.share.value + rest.share.value == pytest.approx(1)
    assert seed.deviation.value == pytest.approx(((9 - 2) / 5) ** 0.5)


def test_equal_values_have_no_variance():
    rows = variance_rows(mean_squares(np.ones((3, 2))), sources((3, 2)))
    assert [(row.deviation.value, row.share.value) for row in rows] == [(0.0, 0.0)] * 3


def test_terms_are_all_combinations():
    assert len(terms_of(4)) == 15
