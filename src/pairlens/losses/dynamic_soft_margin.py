"""Dynamic soft margin loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.core.tracing import is_readable
from pairlens.losses.base import SOURCES, Source, check_finite
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT, as_number, mean_over

# The greatest difference of two distances of unit vectors.
GREATEST = 2.0


@dataclass(frozen=True)
class DynamicSoftMargin:
    """Dynamic soft margin loss: triplets without a margin, each weighed by the share of the batch that is easier.

    L = mean over positive pairs (a, p) of F(x_ap) x_ap with x_ap = d_ap - min(d_an, d_bp), n the nearest negative of a and b
    the nearest anchor that has p as a negative. F is the distribution function of all x of the batch, taken from a histogram
    with linear interpolation between -2 and 2, and constant in the gradient.

    Pair weights: F / d on the pair, and -F / d on the nearer of the two negatives, over the number of positive pairs.

    Source: Zhang and Rusinkiewicz, "Learning Local Descriptors with a CDF-Based Dynamic Soft Margin", ICCV 2019, and its
    code (lg-zhang/dynamic-soft-margin-pytorch, 512 bins). The code averages the histogram over earlier batches with
    momentum 0.01, and takes that of the batch alone in its first step. Here it is always that of the batch, because a loss
    is a function of one batch. pytorch-metric-learning has 10 bins by default, takes all triplets if labels are given, and
    lets the gradient pass through F.

    Attributes:
        bins: bins of the histogram between -2 and 2, at least 2.

    >>> similarity = torch.tensor([[0.5, 0.5]])  # both at distance 1, so x is 0
    >>> DynamicSoftMargin()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.)
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES
    bins: int = 512

    def __post_init__(self) -> None:
        require(self.bins >= 2, f"bins {self.bins} of dynamic soft margin loss must be at least 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return similarity.sum()
        if is_readable(similarity):
            check_finite(similarity)
        d = distance(similarity)
        complete = pairs.complete[:, None]  # (anchor, 1)
        to_negative = torch.where(pairs.negative & complete, d, -ABSENT)
        # (anchor, 1) and (1, reference) together: the nearer of the negatives of both sides of each pair.
        nearest = torch.minimum(to_negative.amin(dim=1, keepdim=True), to_negative.amin(dim=0, keepdim=True))
        counted = pairs.positive & complete
        violation = torch.where(counted, d - nearest, 0.0)
        return mean_over(self._share_below(violation.detach(), counted) * violation, counted)

    def _share_below(self, violation: Tensor, counted: Tensor) -> Tensor:
        """Return F of each violation, (anchor, reference); 0 where there is no positive pair."""
        place = (violation + GREATEST) / (2 * GREATEST) * self.bins
        low = place.floor().clamp(0, self.bins - 1)
        taken = as_number(counted, violation.dtype)
        upper = (place - low) * taken
        lower = taken - upper
        cell = low.long().flatten()
        histogram = violation.new_zeros(self.bins)
        histogram = histogram.scatter_add(0, cell, lower.flatten())
        histogram = histogram.scatter_add(0, (cell + 1).clamp(max=self.bins - 1), upper.flatten())
        below = histogram.cumsum(0) / histogram.sum().clamp(min=1)
        return below.gather(0, cell).view_as(violation) * taken
