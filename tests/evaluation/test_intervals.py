import numpy as np
import pytest
from scipy import stats

from pairlens.evaluation.intervals import (
    RESAMPLES,
    VALUES_PER_BLOCK,
    bonferroni,
    class_bootstrap,
    resamples_for,
    t_interval,
)
from support.naive import statistics as naive


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_t_interval_equals_that_of_scipy(level):
    values = [0.31, 0.35, 0.29, 0.4, 0.33]
    interval = t_interval(values, level)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert (interval.low, interval.high) == pytest.approx(naive.t_interval(values, stats.t.ppf((1 + level) / 2, 4)))
    assert interval.values == tuple(values)


def test_one_seed_has_no_interval():
    interval = t_interval([0.3])
    assert (interval.mean, interval.low, interval.high) == (0.3, None, None)
    assert not interval.excludes_zero
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_an_interval_excludes_zero_on_either_side():
    assert t_interval([1.0, 1.1, 0.9]).excludes_zero
    assert t_interval([-1.0, -1.1, -0.9]).excludes_zero
    assert not t_interval([-1.0, 1.0, 0.1]).excludes_zero


def test_a_t_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(0)
    intervals = [t_interval(sample) for sample in rng.normal(3.0, 2.0, (2000, 5))]
    assert np.mean([i.low <= 3.0 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.015)


def test_the_class_bootstrap_agrees_with_plain_loops():
    rng = np.random.default_rng(1)
    by_class = [rng.random(int(n)).tolist() for n in rng.integers(1, 9, 30)]
    sums = np.array([[sum(values) for values in by_class]])
    counts = np.array([len(values) for values in by_class])
    low, high = class_bootstrap(sums, counts)
    assert (low[0], high[0]) == pytest.approx(naive.class_bootstrap(by_class, 4000, 0.95), abs=0.01)


def test_the_draws_of_the_class_bootstrap_are_those_of_earlier_versions():
    """Stored reports hold such intervals, so the draws must never change."""
    sums = np.array([[0.3, 4.1, 2.2, 7.9, 1.0], [5.0, 4.0, 1.0, 0.0, 2.0]])
    low, high = class_bootstrap(sums, np.array([4, 9, 3, 8, 2]), resamples=1000)
    assert low.tolist() == pytest.approx([0.2571428571428572, 0.1388888888888889], rel=1e-12)
    assert high.tolist() == pytest.approx([0.8833333333333334, 1.0014705882352928], rel=1e-12)


def test_all_statistics_share_the_resampled_classes():
    sums, counts = np.array([[1.0, 5.0, 2.0, 8.0]]), np.full(4, 10)
    low, high = class_bootstrap(np.concatenate([sums, sums, -sums]), counts)
    assert low[0] == low[1]
    assert low[2] == pytest.approx(-high[0])
    narrow = class_bootstrap(sums, counts, 0.5)
    assert low[0] < narrow[0][0] < narrow[1][0] < high[0]


def test_statistics_in_several_blocks_share_the_resampled_classes():
    sums, counts = np.array([[1.0, 5.0, 2.0, 8.0]]), np.full(4, 10)
    number = 2 * (VALUES_PER_BLOCK // RESAMPLES) + 3
    low, high = class_bootstrap(sums.repeat(number, axis=0), counts)
    assert low.shape == high.shape == (number,)
    assert set(low.tolist()) == {float(class_bootstrap(sums, counts)[0][0])}
    assert set(high.tolist()) == {float(class_bootstrap(sums, counts)[1][0])}
    none = class_bootstrap(np.empty((0, 4)), counts)
    assert [ends.shape for ends in none] == [(0,), (0,)]


@pytest.mark.parametrize("comparisons", [1, 9, 10, 20, 41, 400])
def test_at_least_ten_resamples_lie_beyond_each_end(comparisons):
    level = bonferroni(comparisons)
    resamples = resamples_for(level)
    assert resamples * (1 - level) / 2 >= 10 - 1e-6
    assert resamples == RESAMPLES or resamples * (1 - level) / 2 < 10.2
    assert resamples % 50 == 0


def test_the_ends_at_a_high_level_are_those_of_the_normal_distribution():
    """A mean over many classes is nearly normal, so its interval at any level is known: mean ± z · s/√n."""
    rng = np.random.default_rng(2)
    values, level = rng.normal(size=400), bonferroni(41)
    low, high = class_bootstrap(values[None], np.ones(400), level)
    half = stats.norm.ppf((1 + level) / 2) * values.std() / 20
    assert low[0] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_more_comparisons_need_wider_intervals():
    assert bonferroni(1) == pytest.approx(0.95)
    assert 1 - bonferroni(8) == pytest.approx(0.05 / 8)
    assert bonferroni(0) == pytest.approx(0.95)
