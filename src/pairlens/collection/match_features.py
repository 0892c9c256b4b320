"""What the nearest items of a query say about whether the best match is of its class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairlens.core.plain_numbers import as_finite_matrix

Array = NDArray[np.float64]

# The number of nearest items that a calibration looks at: the first ten are matches, the others are the background.
NEAREST = 60
FEW, MANY = 5, 10
# Added to a standard deviation, because equal cosines have none.
TINY = 1e-6

LABELLED = (
    "cosine of the best match",
    "its lead over the next class",
    "mean cosine of the best five",
    "share of the best ten with its label",
    "cosine to the nearest class mean",
    "its lead over the next class mean",
    "its lead over all other class means, in their standard deviations",
)
UNLABELLED = (
    "cosine of the best match",
    "its lead over the second",
    "its lead over the fifth",
    "mean cosine of the best five",
    "lead of the fifth over the tenth",
    "mean cosine of the ranks after the tenth",
    "lead of the best over these ranks, in their standard deviations",
)


def match_features(cosines: Any, labels: Any | None = None, class_cosines: Any | None = None) -> Array:
    """Return the features of queries that `Calibration.judge` reads: `LABELLED`, or `UNLABELLED` without labels.

    Only a search of the `NEAREST` items is needed and, with labels, the product with the means of the classes. Where
    fewer items were found than a feature looks at, it looks at those that there are; one without a value is 0.

    Args:
        cosines: (query, rank) cosines of the nearest items, best first; `NEAREST` ranks, unless there are fewer items.
        labels: (query, rank) integer labels of these items; None for a collection without labels. Where single items have
            no label, each of them gets a number of its own, such as a negative one.
        class_cosines: (query, class) cosines to the unit mean vectors of all classes, in any order; given with labels.

    Returns:
        (query, feature) float64.

    Raises:
        ValueError: if only one of labels and class cosines is given, shapes differ, cosines do not decrease along the
            ranks, or a cosine is not finite.

    >>> match_features([[0.9, 0.8, 0.5]], [[4, 4, 7]], [[0.9, 0.6]])[0, :3].round(3).tolist()
    [0.9, 0.4, 0.733]
    """
    if (labels is None) != (class_cosines is None):
        raise ValueError("give labels and class_cosines together, or neither of them for items without labels")
    near = _checked_cosines(cosines, "cosines")
    if not near.shape[1]:
        raise ValueError("cosines must hold at least one nearest item of each query; the collection is empty")
    if (np.diff(near) > TINY).any():
        raise ValueError("cosines must not increase along the ranks; give the nearest items best first")
    near = near[:, :NEAREST]
    if labels is None or class_cosines is None:
        return _unlabelled(near)
    numbers = np.asarray(labels)
    means = _checked_cosines(class_cosines, "class_cosines")
    if numbers.ndim != 2 or len(numbers) != len(near) or numbers.shape[1] < near.shape[1] or len(means) != len(near):
        raise ValueError(
            f"cosines {near.shape}, labels {numbers.shape} and class_cosines {means.shape} do not belong together; give "
            "one row of each per query, and one label per cosine"
        )
    if numbers.dtype.kind not in "iu" or not means.shape[1]:
        raise ValueError("labels must be integers, and class_cosines must hold at least one class")
    return _labelled(near, numbers[:, : near.shape[1]], means)


def _checked_cosines(values: Any, name: str) -> Array:
    return as_finite_matrix(values, name, "query")


def _labelled(near: Array, labels: NDArray[np.integer], means: Array) -> Array:
    best = near[:, 0]
    is_other = labels != labels[:, :1]  # (query, rank)
    # If all of them are of one class, the next class lies behind the last of them.
    rank_of_other = np.where(is_other.any(axis=1), is_other.argmax(axis=1), near.shape[1] - 1)
    next_class = np.take_along_axis(near, rank_of_other[:, None], axis=1)[:, 0]
    agreement = 1 - is_other[:, :MANY].mean(axis=1)
    nearest, runner_up, mean, deviation = _leaders(means)
    return np.stack(
        [
            best,
            best - next_class,
            near[:, :FEW].mean(axis=1),
            agreement,
            nearest,
            nearest - runner_up,
            (nearest - mean) / (deviation + TINY),
        ],
        axis=1,
    )


def _leaders(means: Array) -> tuple[Array, Array, Array, Array]:
    """Return the largest value of each row, the second, and mean and standard deviation of all but the largest."""
    if means.shape[1] == 1:
        only = means[:, 0]
        return only, only, only, np.zeros_like(only)
    # Partitioned, because there may be thousands of classes.
    ordered = np.partition(means, (-2, -1), axis=1)
    return ordered[:, -1], ordered[:, -2], ordered[:, :-1].mean(axis=1), ordered[:, :-1].std(axis=1)


def _unlabelled(near: Array) -> Array:
    last = near.shape[1] - 1
    best, second, fifth, tenth = (near[:, min(rank, last)] for rank in (0, 1, FEW - 1, MANY - 1))
    # With ten items or fewer the last one is the background.
    background = near[:, min(MANY, last) :]
    mean = background.mean(axis=1)
    return np.stack(
        [
            best,
            best - second,
            best - fifth,
            near[:, :FEW].mean(axis=1),
            fifth - tenth,
            mean,
            (best - mean) / (background.std(axis=1) + TINY),
        ],
        axis=1,
    )
