import math

import numpy as np
import pytest

from pairlens.comparison.rank_correlation import (
    clustered_spearman,
    kendall,
    kendall_estimate,
    ranks_of,
    spearman,
    spearman_estimate,
)
from support.naive import study_findings as naive


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlations_agree_with_plain_loops(ties):
    rng = np.random.default_rng(0)
    for count in (3, 8, 20):
        a, b = rng.normal(size=(2, count)).round(0 if ties else 6)
        a[0], b[0] = 9, 7
        assert ranks_of(a).tolist() == naive.ranks_with_ties(a.tolist())
        assert spearman(a, b) == pytest.approx(naive.spearman(a.tolist(), b.tolist()))
        assert kendall(a, b) == pytest.approx(naive.kendall(a.tolist(), b.tolist()))


def test_degenerate_cases():
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert math.isnan(kendall([1, 1, 1], [1, 2, 3]))
    assert spearman_estimate([1, 2, 3, 4], [1, 2, 4, 3]).low is None
    for estimate in (spearman_estimate, kendall_estimate):
        same = estimate(range(9), range(9))
        assert (same.value, same.high) == pytest.approx((1, 1))
        # A perfect order of nine losses is no certainty.
        assert 0.6 < same.low < 0.97
        assert estimate(range(9), range(9, 0, -1)).low == pytest.approx(-1)


@pytest.mark.parametrize(
    ("estimate", "of"),
    [
        (spearman_estimate, lambda r: 6 / math.pi * math.asin(r / 2)),
        (kendall_estimate, lambda r: 2 / math.pi * math.asin(r)),
    ],
)
@pytest.mark.parametrize(("losses", "rho"), [(6, 0.5), (10, 0.8), (20, 0.0)])
def test_the_interval_over_losses_covers_the_correlation_of_true_means(estimate, of, losses, rho):
    """Means of 5 seeds whose standard deviation is a quarter of that of the losses; 400 studies.

    benches/rank_agreement.py measures 93 % or more with 4,000 studies; three standard errors of 400 are 3.5 %.
    """
    rng, hits = np.random.default_rng(5), 0
    for _ in range(400):
        first = rng.normal(size=losses)
        second = rho * first + math.sqrt(1 - rho**2) * rng.normal(size=losses)
        one, other = (true[:, None] + 0.25 * rng.normal(size=(losses, 5)) for true in (first, second))
        found = estimate(one.mean(axis=1).tolist(), other.mean(axis=1).tolist())
        hits += found.low <= of(rho) <= found.high
    assert hits / 400 > 0.9


def test_the_interval_over_losses_knows_that_seeds_of_a_loss_are_not_independent():
    """A measurement that only tells losses apart has the uncertainty of 12 losses, however many seeds each has."""
    rng, hits = np.random.default_rng(6), 0
    cluster = np.repeat(np.arange(12), 5)
    for _ in range(150):
        first = rng.normal(size=12)
        second = 0.5 * first + math.sqrt(0.75) * rng.normal(size=12)
        found = clustered_spearman(first[cluster], second[cluster], cluster)
        hits += found.low <= 6 / math.pi * math.asin(0.25) <= found.high
    assert hits / 150 > 0.9


def test_few_losses_have_no_interval():
    few = clustered_spearman(np.arange(8.0), np.arange(8.0), np.repeat(np.arange(4), 2))
    assert (few.value, few.low) == (pytest.approx(1), None)
    constant = clustered_spearman(np.ones(12), np.arange(12.0), np.repeat(np.arange(6), 2))
    assert math.isnan(constant.value)
