"""Triplet loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.masked import ABSENT, mean_over, require


@dataclass(frozen=True)
class Triplet:
    """Batch-hard triplet loss on the Euclidean distance of unit vectors.

    L = mean over anchors a of [ max_p d(a, p) - min_n d(a, n) + m ]₊  with  d = √(2 - 2 s).

    The mean is over the anchors that have a positive and a negative, whether their triplet is active or not.
    Pair weights: 1/d on the hardest positive and on the hardest negative of each active anchor, 0 elsewhere.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017, arXiv 1703.07737, equation 5, which sums over
    anchors; the mean makes the loss independent of the batch size. Margin 0.1 is the default of CGD (Jun et al., 2019,
    arXiv 1903.10663). pytorch-metric-learning divides by the number of *active* triplets instead.

    Two photos at distance zero have no direction in which to be pushed apart: their gradient is zero.

    Attributes:
        margin: m, in units of distance (0 to 2).

    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    >>> Triplet(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1])))
    tensor(0.1000)
    """

    margin: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 2, f"the margin {self.margin} of triplet loss is a distance; give 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        farthest_positive = distance(similarity.masked_fill(~pairs.positive, -ABSENT).amin(dim=1))
        nearest_negative = distance(similarity.masked_fill(~pairs.negative, ABSENT).amax(dim=1))
        return mean_over((farthest_positive - nearest_negative + self.margin).relu(), pairs.complete)


def distance(similarity: Tensor) -> Tensor:
    """Return the Euclidean distance d = √(2 - 2 s) of unit vectors, with gradient 0 where it is 0.

    >>> distance(torch.tensor([1.0, 0.5, -1.0]))
    tensor([0., 1., 2.])
    """
    squared = 2 - 2 * similarity
    apart = squared > 0
    return torch.where(apart, squared, 1.0).sqrt() * apart
