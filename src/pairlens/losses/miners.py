"""Miners: functions (similarity, Pairs) -> Pairs that select the pairs of a batch that a loss is to see.

Any miner can be combined with any loss of pairs. No miner has data-dependent shapes, and each takes only a few passes
over the similarities, or one sort of them. The selection has no gradient. Miners that look at a whole batch at once are in
`batch_miners`, and the one with a strategy for each side is in `batch_easy_hard`.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.losses.base import Side, row_blocks
from pairlens.losses.batch_easy_hard import BatchEasyHard
from pairlens.losses.batch_miners import HardestFraction, PairMargin, UniformHistogram
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT


@dataclass(frozen=True)
class Hardest:
    """Keep the farthest positive and the nearest negative of each anchor (batch-hard).

    Pairs that tie for the hardest are all kept.

    Source: Hermans, Beyer, Leibe, 2017, arXiv 1703.07737.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.1, 0.3]])
    >>> Hardest()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))).negative
    tensor([[False, False, False,  True]])
    """

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        positive, negative = _sides(similarity, pairs)
        return Pairs(
            positive.present & (similarity == positive.lowest(similarity)),
            negative.present & (similarity == negative.highest(similarity)),
        )


@dataclass(frozen=True)
class SemiHard:
    """Keep the pairs of all semi-hard triplets: the negative is farther than the positive, by less than a margin.

    A negative n is kept if d_p < d_n < d_p + m for some positive p, and a positive p if that holds for some negative n.

    Source: Schroff et al., "FaceNet", CVPR 2015, arXiv 1503.03832, section 3.2, where whole triplets are selected; that
    is `AllTriplets` with `semi_hard`.

    Attributes:
        margin: m, in units of distance.

    >>> similarity = torch.tensor([[0.5, 0.49, 0.9, -1.0]])
    >>> SemiHard()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1, 1]))).negative
    tensor([[False,  True, False, False]])
    """

    margin: float = 0.2

    def __post_init__(self) -> None:
        require(
            0 < self.margin <= 2,
            f"the margin {self.margin} of semi-hard mining is a distance; use a value above 0 and up to 2",
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        d = distance(similarity)
        # d_p < d_n < d_p + m, solved once for the positives of a negative and once for the negatives of a positive.
        positive = pairs.positive & _any_between(d, pairs.negative, d, d + self.margin)
        negative = pairs.negative & _any_between(d, pairs.positive, d - self.margin, d)
        return Pairs(positive, negative)


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
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        positive, negative = _sides(similarity, pairs)
        nearest_positive = positive.present & (similarity == positive.highest(similarity))
        if not self.hard_negative:
            return Pairs(nearest_positive, negative.present)
        return Pairs(nearest_positive, negative.present & (similarity == negative.highest(similarity)))


@dataclass(frozen=True)
class DistanceWeighted:
    """Sample one negative for each positive, uniformly over the distances.

    Distances between random points on a sphere of n dimensions concentrate around √2, with density
    q(d) ∝ d^{n-2} (1 - d²/4)^{(n-3)/2}. A negative is sampled with probability ∝ 1 / q(max(d, cutoff)), and not at all
    beyond `limit`, where the loss is zero anyway.

    The sampling is systematic: the expected number of times that a negative is sampled is its probability times the
    number of positives. A negative that is sampled several times is kept once. The random numbers are those of PyTorch's
    default generator, whose state a checkpoint holds.

    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, arXiv 1706.07567, equations 3 and 4:
    cutoff 0.5, limit 1.4.

    Attributes:
        dim: n, the dimension of the embeddings.
        cutoff: smaller distances are treated as this one.
        limit: no negative beyond this distance is sampled, unless there is no other.

    >>> similarity = torch.tensor([[0.9, 0.5, -1.0]])
    >>> DistanceWeighted()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))).negative
    tensor([[False,  True, False]])
    """

    dim: int = 512
    cutoff: float = 0.5
    limit: float = 1.4

    def __post_init__(self) -> None:
        require(self.dim >= 3, f"dim {self.dim} of distance-weighted sampling must be at least 3")
        require(
            0 < self.cutoff < self.limit <= 2,
            f"cutoff {self.cutoff} and limit {self.limit} must satisfy 0 < cutoff < limit <= 2",
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        sampled = [
            self._sample(similarity[rows], pairs.positive[rows], pairs.negative[rows])
            for rows in row_blocks(similarity)
        ]
        return Pairs(pairs.positive, torch.cat(sampled))

    def _sample(self, similarity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the (anchor, reference) mask of the sampled negatives."""
        # Up to 3.999, because opposite vectors have d² = 4, where log q is not finite.
        squared = (2 - 2 * similarity).clamp(self.cutoff**2, 3.999)
        log_q = (self.dim - 2) / 2 * squared.log() + (self.dim - 3) / 2 * torch.log1p(-squared / 4)
        # Beyond the limit the log-probability is finite, so that such a negative is sampled where there is no other.
        log_probability = ABSENT / 4 * (squared - self.limit**2).sign().clamp(min=0) - log_q
        probability = Side(similarity, negative).logsumexp(log_probability)[1]
        count = positive.sum(dim=1, keepdim=True).to(probability.dtype)  # (anchor, 1) negatives to sample
        # Systematic sampling: a negative is sampled where the running sum of the expected counts, from a random start,
        # passes an integer. It needs no sort.
        passed = (probability.cumsum(dim=1) * count + torch.rand_like(count)).floor()
        return negative & (passed.diff(dim=1, prepend=torch.zeros_like(count)) > 0)


@dataclass(frozen=True)
class MultiSimilarityPairs:
    """Keep the negatives with s_n > min_p s_p - ε and the positives with s_p < max_n s_n + ε.

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
        require(0 <= self.epsilon <= 2, f"epsilon {self.epsilon} of multi-similarity mining must be 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        positive, negative = _sides(similarity, pairs)
        return Pairs(
            positive.present & (similarity < negative.highest(similarity) + self.epsilon),
            negative.present & (similarity > positive.lowest(similarity) - self.epsilon),
        )


@dataclass(frozen=True)
class AngularPairs:
    """Keep the pairs of the triangles (a, p, n) whose angle at the negative exceeds a bound.

    With c the midpoint of a and p, the angle is atan(|a - p| / (2 |n - c|)), where |n - c|² is taken as
    d_an² - d_ap²/4, as in an isosceles triangle. A negative is kept if its triangle with the farthest positive exceeds
    the bound, because that angle is the largest; a positive is kept if its triangle with the nearest negative does.

    Source: the angle of Wang et al., "Deep Metric Learning with Angular Loss", ICCV 2017, arXiv 1708.01682, equation 4.
    pytorch-metric-learning selects single triplets by it.

    Attributes:
        degrees: the bound.

    >>> similarity = torch.tensor([[0.5, 0.5, -1.0]])
    >>> AngularPairs()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))).negative
    tensor([[False,  True, False]])
    """

    degrees: float = 20.0

    def __post_init__(self) -> None:
        require(0 <= self.degrees < 90, f"degrees {self.degrees} of angular mining is an angle; use 0 to below 90")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        positive, negative = _sides(similarity, pairs)
        squared = (2 - 2 * similarity).clamp(min=0)  # (anchor, reference) d²; the two below are (anchor, 1)
        farthest = (2 - 2 * positive.lowest(similarity)).clamp(min=0)
        nearest = (2 - 2 * negative.highest(similarity)).clamp(min=0)
        return Pairs(
            positive.present & self._exceeds(squared, nearest),
            negative.present & self._exceeds(farthest, squared),
        )

    def _exceeds(self, to_positive: Tensor, to_negative: Tensor) -> Tensor:
        """Return whether the angle of a triangle, given its squared distances d_ap² and d_an², exceeds the bound."""
        # tan² of the angle is d_ap² / (4 |n - c|²). Multiplied out, it is defined for a triangle without height, too.
        tangent = math.tan(math.radians(self.degrees))
        return to_positive > 4 * tangent**2 * (to_negative - to_positive / 4).clamp(min=0)


Miner: TypeAlias = (
    Hardest
    | SemiHard
    | EasyPositive
    | DistanceWeighted
    | MultiSimilarityPairs
    | AngularPairs
    | BatchEasyHard
    | PairMargin
    | HardestFraction
    | UniformHistogram
)


def _sides(similarity: Tensor, pairs: Pairs) -> tuple[Side, Side]:
    return Side(similarity, pairs.positive), Side(similarity, pairs.negative)


def _any_between(values: Tensor, mask: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return where some masked value of the row lies strictly between low and high, all (anchor, reference)."""
    # In a sorted row, a value lies between the two exactly where fewer are at most `low` than are below `high`. This
    # takes a sort per row where comparing all pairs of a row would be cubic.
    ordered = torch.where(mask, values, -ABSENT).sort(dim=1).values
    return torch.searchsorted(ordered, low, right=True) < torch.searchsorted(ordered, high)
