"""Averaging of a loss: over the anchors, each of which counts the same, or over the pairs of the batch."""

from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.reductions import as_number

# With classes of equal size both averages are the same. With uneven classes, "pair" gives the photos of large classes more
# weight, because they have more positives.
Average: TypeAlias = Literal["anchor", "pair"]
AVERAGES: tuple[Average, ...] = get_args(Average)
# Metadata of a field that came later: records, texts and folder names of runs with its default stay as they were.
LATER: dict[str, Any] = {"omit_default": True}


def check_average(average: str, name: str) -> None:
    """Raise ValueError unless an average is one of `AVERAGES`.

    Args:
        average: the setting.
        name: of the loss, for the sentence.
    """
    require(average in AVERAGES, f"the average {average!r} of {name} is unknown; use {' or '.join(AVERAGES)}")


def shares_of_anchors(times: Tensor | None, pairs: Pairs, dtype: torch.dtype) -> Tensor:
    """Return the (anchor, 1) shares of the anchors in the mean, which add up to 1; 0 of one without a pair of each kind.

    Args:
        times: (anchor, 1) how often each anchor counts; None if all count once.
        pairs: the pairs of the anchors.
        dtype: that of the shares.

    >>> pairs = Pairs.within(torch.tensor([0, 0, 1]))
    >>> shares_of_anchors(None, pairs, torch.float32).T
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    complete = as_number(pairs.complete[:, None], dtype)
    counted = complete if times is None else complete * times.to(dtype)
    return counted / counted.sum().clamp(min=1)


def sum_of_shares(values: Tensor, shares: Tensor) -> Tensor:
    """Return the sum of (anchor, 1) values times shares; a value whose share is 0 may be undefined.

    >>> sum_of_shares(torch.tensor([[2.0], [torch.nan]]), torch.tensor([[1.0], [0.0]]))
    tensor(2.)
    """
    return (values * shares).masked_fill(shares == 0, 0.0).sum()
