"""Means with their intervals: over seeds (Student's t) and over test classes (bootstrap). Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES, AT_ONCE = 4000, 500


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Attributes:
        mean: of the values.
        low: lower end; None for a single value, of which no interval can be said.
        high: upper end.
        values: what it is the mean of, one a seed.
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
    """Return mean ± t · s/√n, with t of n - 1 degrees of freedom.

    Args:
        values: one a seed.
        level: confidence.

    >>> found = t_interval([1.0, 2.0, 3.0])
    >>> round(found.low, 3), found.mean, round(found.high, 3)
    (-0.484, 2.0, 4.484)
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, None, None, tuple(map(float, values)))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half, tuple(map(float, values)))


def bonferroni(comparisons: int, level: float = 0.95) -> float:
    """Return the level each of several intervals needs, so that all hold together with `level`.

    >>> round(bonferroni(10), 3)
    0.995
    """
    return 1 - (1 - level) / max(comparisons, 1)


def class_bootstrap(sums: np.ndarray, counts: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals of Σ sums / Σ counts when the classes are drawn anew with replacement.

    Photos of one class are not independent, so classes are drawn, not photos. The draws follow from the number of
    classes alone, so that all statistics see the same ones.

    Args:
        sums: (statistic, class) sums over a class's queries of what is averaged, or differences of two such sums.
        counts: (class,) queries of each class.
        level: confidence.

    Returns:
        (statistic,) lower ends and (statistic,) upper ends.
    """
    classes = len(counts)
    draw, even = np.random.default_rng(classes), np.full(classes, 1 / classes)
    means = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = draw.multinomial(classes, even, AT_ONCE).astype(float)
        means.append((drawn @ sums.T) / (drawn @ counts)[:, None])
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
