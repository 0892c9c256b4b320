"""Confidence intervals of means: over seeds (Student's t) and over test classes (bootstrap). Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
RESAMPLES_PER_CHUNK = 50
# The least number of resamples beyond each end of an interval; with fewer, its ends would depend on single resamples.
BEYOND_AN_END = 10
# Resamples of statistics that are held at a time, which bounds the memory: 32 MiB.
VALUES_PER_BLOCK = 2**22


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Attributes:
        mean: of the values.
        low: lower end; None for a single value, because one value has no interval.
        high: upper end; None for a single value.
        values: the values that were averaged, one per seed.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean ± t · s/√n, where t is the quantile of Student's t with n - 1 degrees of freedom.

    Args:
        values: one per seed.
        level: confidence level.

    Raises:
        ValueError: if there is no value.

    >>> interval = t_interval([1.0, 2.0, 3.0])
    >>> round(interval.low, 3), interval.mean, round(interval.high, 3)
    (-0.484, 2.0, 4.484)
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, None, None, tuple(map(float, values)))
    # Imported here, because scipy.stats takes half as long to import as PyTorch.
    from scipy import stats

    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half, tuple(map(float, values)))


def bonferroni(comparisons: int, level: float = 0.95) -> float:
    """Return the level that each of several intervals needs so that all of them hold together at `level`.

    >>> round(bonferroni(10), 3)
    0.995
    """
    return 1 - (1 - level) / max(comparisons, 1)


def class_bootstrap(
    sums: np.ndarray, counts: np.ndarray, level: float = 0.95, resamples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile intervals of Σ sums / Σ counts when the classes are resampled with replacement.

    Photos of one class are not independent, so classes are resampled, not photos. The resamples depend on the number of
    classes alone, so statistics of the same test set, also from different calls, are computed on the same resamples.

    Args:
        sums: (statistic, class) sums over the queries of each class, or differences of two such sums.
        counts: (class,) number of queries of each class.
        level: confidence level.
        resamples: number of resamples, a multiple of 50; by default 4,000, and more at a level that needs more, see
            `resamples_for`.

    Returns:
        (statistic,) lower ends and (statistic,) upper ends.

    >>> low, high = class_bootstrap(np.array([[0.0, 8.0, 4.0]]), np.array([8, 8, 8]))
    >>> float(low[0]), float(high[0])
    (0.0, 1.0)
    """
    number = resamples_for(level) if resamples is None else resamples
    size = max(1, VALUES_PER_BLOCK // number)
    blocks = np.split(sums, range(size, len(sums), size))
    ends = [np.quantile(_resampled(block, counts, number), _tails(level), axis=0) for block in blocks]
    low, high = np.concatenate(ends, axis=1)
    return low, high


def resamples_for(level: float) -> int:
    """Return how many resamples a percentile interval at a level needs: 4,000, or more, until 10 lie beyond each end.

    >>> resamples_for(0.95), resamples_for(bonferroni(41))
    (4000, 16400)
    """
    # In floating point the quotient may lie above a whole number by rounding alone.
    needed = math.ceil(round(BEYOND_AN_END / _tails(level)[0] / RESAMPLES_PER_CHUNK, 6))
    return max(RESAMPLES, needed * RESAMPLES_PER_CHUNK)


def _tails(level: float) -> tuple[float, float]:
    # In floating point (1 - 0.95) / 2 is not 0.025; rounded, so that the quantiles are the ones that the level names.
    tail = round((1 - level) / 2, 12)
    return tail, 1 - tail


def _resampled(sums: np.ndarray, counts: np.ndarray, resamples: int) -> np.ndarray:
    """Return Σ sums / Σ counts of each resample, (resample, statistic)."""
    rng, classes = np.random.default_rng(0), len(counts)
    class_sums = np.ascontiguousarray(sums.T)  # (class, statistic)
    weights = counts.astype(float)
    # Adding i · classes to the draws of resample i gives each resample its own numbers, so one bincount counts them all.
    offsets = classes * np.arange(RESAMPLES_PER_CHUNK)[:, None]
    means = []
    for _ in range(resamples // RESAMPLES_PER_CHUNK):
        draws = rng.integers(classes, size=(RESAMPLES_PER_CHUNK, classes)) + offsets
        # (resample, class): how often each resample has drawn each class.
        times = np.bincount(draws.ravel(), minlength=offsets.size * classes).reshape(-1, classes).astype(float)
        means.append(times @ class_sums / (times @ weights)[:, None])
    return np.concatenate(means)
