"""The quantile of values that have weights."""

import numpy as np

from pairlens.evaluation.class_divisions import Floats


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the smallest value whose values up to it have at least this share of the weight.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.75)
    2.0
    """
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    # Rounding may leave the sum of all weights below the wanted share.
    position = min(int(np.searchsorted(reached, level * reached[-1])), len(values) - 1)
    return float(values[order[position]])
