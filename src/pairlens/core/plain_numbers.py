"""Matrices of numbers without PyTorch, for processes that run an ONNX model."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatMatrix: TypeAlias = NDArray[np.float64]


def as_finite_matrix(values: Any, name: str, row: str = "row") -> FloatMatrix:
    """Return float64 (row, column) numbers from an array, nested lists or a tensor.

    Args:
        values: the numbers.
        name: what an error calls them.
        row: what an error calls a row.

    Raises:
        ValueError: if they are no matrix of real numbers, or one is not finite.

    >>> as_finite_matrix([[1, 2]], "features")
    array([[1., 2.]])
    """
    # A tensor is recognised by its method, so that PyTorch need not be imported.
    given = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        array = np.asarray(given)
    # Rows of different lengths, or objects that are no numbers.
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of real numbers with one row per photo ({error})") from error
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} must be a matrix of real numbers with one row per photo, not {array.dtype} of shape {array.shape}"
        )
    wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{name}: {row} {wrong[0]} has a number that is not finite; look for NaN or overflow where it was embedded"
        )
    return array.astype(np.float64)
