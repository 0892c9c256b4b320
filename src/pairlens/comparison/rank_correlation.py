"""Rank correlations with intervals: Spearman's, Kendall's tau-b, and over runs that belong to losses. Pure functions."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from pairlens.comparison.findings import Estimate

# Two pairs of values always have a correlation of 1 or -1, and below five there is no interval.
LEAST_VALUES = 3
LEAST_FOR_INTERVAL = 5
Z = 1.959964


def ranks_of(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the ranks from 1, the smallest value first; equal values share the mean of their ranks.

    >>> ranks_of([0.2, 0.5, 0.2]).tolist()
    [1.5, 3.0, 1.5]
    """
    # Imported here, because scipy.stats takes half as long to import as PyTorch.
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=float)


def spearman(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Return Spearman's rank correlation, the correlation of the ranks; NaN if one side has equal values only.

    >>> round(spearman([1, 2, 3, 4], [1, 3, 2, 4]), 3)
    0.8
    """
    return _correlation(ranks_of(first), ranks_of(second))


def kendall(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Return Kendall's tau-b: concordant minus discordant pairs, over the mean number of pairs without a tie.

    NaN if one side has equal values only. Source: Kendall, Biometrika 33, 1945.

    >>> round(kendall([1, 2, 3, 4], [1, 3, 2, 4]), 3)
    0.667
    """
    # (value, value): 1 where the first is greater, -1 where it is smaller, 0 for a tie.
    a, b = (np.sign(np.subtract.outer(np.asarray(x, float), np.asarray(x, float))) for x in (first, second))
    scale = math.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale else math.nan


def spearman_estimate(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return Spearman's correlation of independent pairs with its 95 % interval, from five pairs on.

    tanh(atanh r ± z √((1 + r²/2) / (n - 3))): Bonett and Wright, Psychometrika 65, 2000.
    """
    count = len(first)
    # Half of the smallest possible change: a perfect order of few values is no certainty.
    step = 6 / (count * (count**2 - 1))
    return _fisher_interval(spearman(first, second), count, step, lambda r: (1 + r * r / 2) / (count - 3))


def kendall_estimate(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return Kendall's tau-b of independent pairs with its 95 % interval, from five pairs on.

    tanh(atanh τ ± z √(0.437 / (n - 4))): Fieller, Hartley and Pearson, Biometrika 44, 1957.
    """
    count = len(first)
    step = 2 / (count * (count - 1))
    return _fisher_interval(kendall(first, second), count, step, lambda _: 0.437 / (count - 4))


def _fisher_interval(r: float, count: int, step: float, variance: Callable[[float], float]) -> Estimate:
    if count < LEAST_FOR_INTERVAL or math.isnan(r):
        return Estimate(r)
    inside = min(max(r, step - 1), 1 - step)
    half = Z * math.sqrt(variance(inside))
    low, high = (math.tanh(math.atanh(inside) + side * half) for side in (-1, 1))
    return Estimate(r, min(low, r), max(high, r))


def clustered_spearman(first: np.ndarray, second: np.ndarray, cluster: np.ndarray) -> Estimate:
    """Return Spearman's correlation over runs, with a 95 % jackknife interval over the losses that they belong to.

    Runs of one loss are not independent, so each loss is left out once with all of its runs: tanh(z ± t · s), where
    z = atanh ρ, s² = (k - 1) / k Σ (z₋ᵢ - mean)² over the k losses, and t has k - 1 degrees of freedom (Arvesen, Annals of
    Mathematical Statistics 40, 1969). The ranks are those of the whole sample. There is no interval below five losses.

    Args:
        first: (run,) a measurement.
        second: (run,) the test metric.
        cluster: (run,) the number of the loss.
    """
    from scipy.stats import t

    x, y = ranks_of(first), ranks_of(second)
    value = _correlation(x, y)
    names, number = np.unique(cluster, return_inverse=True)
    count = len(names)
    if count < LEAST_FOR_INTERVAL or math.isnan(value):
        return Estimate(value)
    without = np.array([_correlation(x[number != loss], y[number != loss]) for loss in range(count)])
    # Without one loss, all other runs may be equal.
    if np.isnan(without).any():
        return Estimate(value)
    # Half of the smallest possible change: a perfect order of few runs is no certainty.
    most = 1 - 6 / (len(x) * (len(x) ** 2 - 1))
    z = np.arctanh(np.clip(without, -most, most))
    half = float(t.ppf(0.975, count - 1)) * math.sqrt((count - 1) / count * float(((z - z.mean()) ** 2).sum()))
    center = math.atanh(min(max(value, -most), most))
    return Estimate(value, min(math.tanh(center - half), value), max(math.tanh(center + half), value))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else math.nan
