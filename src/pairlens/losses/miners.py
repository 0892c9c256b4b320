"""Miners: which of the pairs of a batch a loss is to see. A miner is a function (similarity, Pairs) -> Pairs.

Any miner goes with any loss of pairs. None has data-dependent shapes, and none is more than a few passes over the
similarities. What is mined has no gradient.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.losses.base import Side, blocks
from pairlens.losses.reductions import ABSENT


@dataclass(frozen=True)
class Hardest:
    """Keep the farthest positive and the nearest negative of each anchor (batch-hard).

    Source: Hermans, Beyer, Leibe, 2017, arXiv 1703.07737. Equally hard ones are all kept.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.1, 0.3]])
    >>> Hardest()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))).negative
    tensor([[False, False, False,  True]])
    """

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        positive, negative = _sides(similarity, pairs)
        return Pairs(
            positive.present & (similarity == positive.lowest(similarity)),
            negative.present & (similarity == negative.highest(similarity)),
        )


@dataclass(frozen=True)
class SemiHard:
    """Keep the negatives that are farther than some positive of the anchor, but by less than a margin; and these
    positives.

    Source: Schroff et al., "FaceNet", CVPR 2015, arXiv 1503.03832, section 3.2, where it chooses triplets
    (`AllTriplets` with `semi_hard`). As pairs: a negative is kept if d_p < d_n < d_p + m for some positive p, and a
    positive if some negative is so to it.

    Attributes:
        margin: m, in units of distance.

    >>> similarity = torch.tensor([[0.5, 0.49, 0.9, -1.0]])
    >>> SemiHard()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1, 1]))).negative
    tensor([[False,  True, False, False]])
    """

    margin: float = 0.2

    def __post_init__(self) -> None:
        require(0 < self.margin <= 2, f"the margin {self.margin} of semi-hard mining is a distance; give above 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        d = distance(similarity)
        kept_n = pairs.negative & _any_between(d, pairs.positive, d - self.margin, d)
        kept_p = pairs.positive & _any_between(d, pairs.negative, d, d + self.margin)
        return Pairs(kept_p, kept_n)


@dataclass(frozen=True)
class EasyPositive:
    """Keep the nearest positive of each anchor and all negatives, or only the nearest negative.

    Source: Xuan, Stylianou, Pless, "Improved Embeddings with Easy Positive Triplet Mining", WACV 2020, arXiv
    1904.04370.

    Attributes:
        hard_negative: keep only the nearest negative.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.1]])
    >>> EasyPositive()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))).positive
    tensor([[ True, False, False]])
    """

    hard_negative: bool = False

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        positive, negative = _sides(similarity, pairs)
        kept_n = negative.present
        if self.hard_negative:
            kept_n = kept_n & (similarity == negative.highest(similarity))
        return Pairs(positive.present & (similarity == positive.highest(similarity)), kept_n)


@dataclass(frozen=True)
class DistanceWeighted:
    """Draw one negative for each positive, evenly over the distances.

    On a sphere of n dimensions distances crowd around √2, with density q(d) ∝ d^{n-2} (1 - d²/4)^{(n-3)/2}. Negatives
    are drawn with probability ∝ 1 / q(max(d, cutoff)), and none beyond `limit`, where the loss is zero anyway.

    The draw is systematic: every negative is expected as often as its probability says, and is kept once. It is PyTorch's
    own draw (a checkpoint holds its state).

    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, arXiv 1706.07567, equations 3 and 4:
    cutoff 0.5, limit 1.4.

    Attributes:
        dim: n, the dimension of the embeddings.
        cutoff: distances below it are drawn as this one.
        limit: no negative beyond this distance is drawn, unless there is no other.

    >>> similarity = torch.tensor([[0.9, 0.5, -1.0]])
    >>> DistanceWeighted()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))).negative
    tensor([[False,  True, False]])
    """

    dim: int = 512
    cutoff: float = 0.5
    limit: float = 1.4

    def __post_init__(self) -> None:
        require(self.dim >= 3, f"dim {self.dim} of distance-weighted sampling must be at least 3")
        require(0 < self.cutoff < self.limit <= 2, f"cutoff {self.cutoff} and limit {self.limit} must rise from 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        kept = torch.empty_like(pairs.negative)
        for block in blocks(similarity):
            kept[block] = self._draw(similarity[block], pairs.positive[block], pairs.negative[block])
        return Pairs(pairs.positive, kept)

    def _draw(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        squared = (2 - 2 * similarity).clamp(self.cutoff**2, 3.999)
        log_q = (self.dim - 2) / 2 * squared.log() + (self.dim - 3) / 2 * torch.log1p(-squared / 4)
        # Farther than the limit is as good as never, and still better than no negative at all.
        log_chance = ABSENT / 4 * (squared - self.limit**2).sign().clamp(min=0) - log_q
        share = Side(similarity, negative).logsumexp(log_chance)[1]
        wanted = positive.sum(dim=1, keepdim=True).to(share.dtype)
        # Systematic sampling: evenly spaced marks along the running sum, from a random start, need no sort.
        marks = (share.cumsum(dim=1) * wanted + torch.rand_like(wanted)).floor()
        return negative & (marks.diff(dim=1, prepend=torch.zeros_like(wanted)) > 0)


@dataclass(frozen=True)
class MultiSimilarityPairs:
    """Keep a negative above the farthest positive less ε, and a positive below the nearest negative plus ε.

    Source: Wang et al., "Multi-Similarity Loss with General Pair Weighting", CVPR 2019, arXiv 1904.06627, equations 11
    and 12.

    Attributes:
        epsilon: ε, in units of similarity.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.45, 0.1]])
    >>> MultiSimilarityPairs()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))).negative
    tensor([[False, False,  True, False]])
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.epsilon <= 2, f"epsilon {self.epsilon} of multi-similarity mining is a slack; give 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        positive, negative = _sides(similarity, pairs)
        return Pairs(
            positive.present & (similarity < negative.highest(similarity) + self.epsilon),
            negative.present & (similarity > positive.lowest(similarity) - self.epsilon),
        )


@dataclass(frozen=True)
class AngularPairs:
    """Keep the pairs of the triangles (a, p, n) whose angle at the negative is above a bound.

    With c the middle of a and p, the angle is atan(|a - p| / (2 |n - c|)). It is largest for the farthest positive, so
    a negative is kept if its triangle with the farthest positive is above the bound, and a positive if its triangle
    with the negative that is nearest to the anchor is; |n - c|² is taken as d_an² - d_ap²/4, that of a triangle with
    two equal sides.

    Source: the angle of Wang et al., "Deep Metric Learning with Angular Loss", ICCV 2017, arXiv 1708.01682, equation 4;
    pytorch-metric-learning mines single triplets by it.

    Attributes:
        degrees: the bound.

    >>> similarity = torch.tensor([[0.5, 0.5, -1.0]])
    >>> AngularPairs()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))).negative
    tensor([[False,  True, False]])
    """

    degrees: float = 20.0

    def __post_init__(self) -> None:
        require(0 <= self.degrees < 90, f"degrees {self.degrees} of angular mining is an angle; give 0 to below 90")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the pairs to learn from."""
        positive, negative = _sides(similarity, pairs)
        squared = (2 - 2 * similarity).clamp(min=0)
        farthest = (2 - 2 * positive.lowest(similarity)).clamp(min=0)
        nearest = (2 - 2 * negative.highest(similarity)).clamp(min=0)
        return Pairs(
            positive.present & self._beyond(squared, nearest),
            negative.present & self._beyond(farthest, squared),
        )

    def _beyond(self, to_positive: Tensor, to_negative: Tensor) -> Tensor:
        tangent = math.tan(math.radians(self.degrees))
        return to_positive > 4 * tangent**2 * (to_negative - to_positive / 4).clamp(min=0)


Miner: TypeAlias = Hardest | SemiHard | EasyPositive | DistanceWeighted | MultiSimilarityPairs | AngularPairs


def _sides(similarity: Tensor, pairs: Pairs) -> tuple[Side, Side]:
    return Side(similarity, pairs.positive), Side(similarity, pairs.negative)


def _any_between(values: Tensor, mask: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return where some masked value of the row lies strictly between low and high."""
    ordered = torch.where(mask, values, -ABSENT).sort(dim=1).values
    return torch.searchsorted(ordered, low, right=True) < torch.searchsorted(ordered, high)
