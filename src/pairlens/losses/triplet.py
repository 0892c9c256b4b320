"""Triplet losses: over the hardest triplet of each anchor, over all of them, or over the semi-hard ones."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from pairlens.core.pairs import as_bytes
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.averaging import LATER, Average, check_average
from pairlens.losses.base import AnchorLoss, PairWeights, Side, none_active, zero_weights
from pairlens.losses.reductions import ABSENT, log1p_exp
from pairlens.losses.tuning_space import MARGIN_SPACE, Range

# Up to this number of positives per anchor, comparing all negatives with each of them is faster than a binary search.
MAX_COMPARED = 8
# Comparisons of a positive with a negative that are made at once: their booleans stay in the nearest cache.
MAX_COMPARISONS = 2**16

DistanceMeasure: TypeAlias = Literal["distance", "squared", "cosine"]


@dataclass(frozen=True)
class Triplet(AnchorLoss):
    """Batch-hard triplet loss: the farthest positive must be nearer than the nearest negative, by a margin.

    L = mean over anchors a of [ max_p d(a, p) - min_n d(a, n) + m ]₊, or with `soft` log(1 + e^{max d - min d + m}),
    where d is the Euclidean distance √(2 - 2 s) of unit vectors, its square, or 1 - s.

    The mean is over the anchors that have a positive and a negative, whether their triplet is active or not.
    Pair weights: -dd/ds (1/d, 2 or 1) on the hardest positive and on the hardest negative of each active anchor, 0
    elsewhere; times sigmoid(max d - min d + m) if soft. Pairs that tie for the hardest share the weight evenly.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017, arXiv 1703.07737, equation 5, which sums over
    anchors; the mean makes the loss independent of the batch size. Its soft form has m = 0. Margin 0.1 is the default
    of CGD (Jun et al., 2019, arXiv 1903.10663). pytorch-metric-learning divides by the number of *active* triplets
    instead.

    Two photos at distance zero have no direction in which they could move apart, so their gradient is zero.

    Attributes:
        margin: m, in units of the measure.
        measure: distance, squared (distance) or cosine (1 - s).
        soft: use softplus instead of the hinge.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    >>> Triplet(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1])))
    tensor(0.1000)
    """

    space: ClassVar[dict[str, Range]] = MARGIN_SPACE
    margin: float = 0.1
    measure: DistanceMeasure = "distance"
    soft: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 4, f"the margin {self.margin} of triplet loss is a distance; use 0 to 4")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        lowest = positive.lowest(positive.similarity)  # (anchor, 1); -ABSENT without a positive
        highest = negative.highest(negative.similarity)
        # An anchor without a triplet gets similarities that are finite and that no pair of it has.
        both = (lowest < 2) & (highest > -2)
        s_p = torch.where(both, lowest, 1.0)
        s_n = torch.where(both, highest, -1.0)
        d_p = dissimilarity(s_p, self.measure)
        d_n = dissimilarity(s_n, self.measure)
        value, push = _hinge(d_p - d_n + self.margin, self.soft)
        push_p = push * slope(d_p, self.measure)
        push_n = push * slope(d_n, self.measure)
        return PairWeights(value, positive.share_of_extreme(s_p) * push_p, negative.share_of_extreme(s_n) * push_n)


@dataclass(frozen=True)
class AllTriplets(AnchorLoss):
    """Triplet loss over all triplets of an anchor, or over the semi-hard ones.

    L = mean over anchors of the mean over their active triplets of [ d(a, p) - d(a, n) + m ]₊; a triplet is active if
    d(a, n) < d(a, p) + m, and semi-hard if in addition d(a, p) < d(a, n).

    Pair weights, with T active triplets: w_p = c_p / T · -dd/ds, c_p the number of active triplets with p, and likewise
    w_n. The loss is linear in the distances while the same triplets are active: (Σ_p c_p d_p - Σ_n c_n d_n + m T) / T.
    So only the counts c are needed. They follow from the ranks of d_n and d_n - m among the sorted positives, without an
    (anchor, positive, negative) tensor.

    Source: Schroff et al., "FaceNet", CVPR 2015, arXiv 1503.03832, equation 3 and section 3.2 (margin 0.2 on squared
    distances); the mean over active triplets is L_BA≠0 of Hermans et al., 2017, arXiv 1703.07737.
    pytorch-metric-learning averages over the active triplets of the whole batch, as `average="pair"` does.

    Attributes:
        margin: m, in units of the measure.
        measure: distance, squared (distance) or cosine (1 - s).
        semi_hard: count only negatives that are farther than the positive.
        average: "anchor", or "pair" for the mean over the active triplets of the batch: an anchor with many counts more.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    >>> AllTriplets(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1])))
    tensor(0.1000)
    """

    space: ClassVar[dict[str, Range]] = MARGIN_SPACE
    margin: float = 0.1
    measure: DistanceMeasure = "distance"
    semi_hard: bool = False
    average: Average = field(default="anchor", metadata=LATER)

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 4, f"the margin {self.margin} of triplet loss is a distance; use 0 to 4")
        check_average(self.average, "triplet loss")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_p = dissimilarity(positive.similarity, self.measure)
        d_n = dissimilarity(negative.similarity, self.measure)
        # Of each anchor, (anchor, 1): none of its triplets is active unless the nearest negative and farthest positive are.
        if none_active(negative.lowest(d_n) < positive.highest(d_p + self.margin)):
            nothing = zero_weights(positive, negative)
            return nothing._replace(times=nothing.value) if self.average == "pair" else nothing
        c_p, c_n = self._count(positive, negative, d_p.detach(), d_n.detach())
        triplets = c_n.sum(dim=1, keepdim=True)
        sums = positive.total(c_p * d_p) - negative.total(c_n * d_n) + self.margin * triplets
        share = 1 / triplets.clamp(min=1)
        w_p = c_p * slope(d_p, self.measure) * share
        w_n = c_n * slope(d_n, self.measure) * share
        return PairWeights(sums * share, w_p, w_n, triplets if self.average == "pair" else None)

    def _count(self, positive: Side, negative: Side, d_p: Tensor, d_n: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (anchor, slot) active triplets per positive and per negative."""
        # Both ways of counting give the same numbers.
        count = _count_by_comparing if d_p.shape[1] <= MAX_COMPARED else _count_by_sorting
        return count(positive, negative, d_p, d_n, self.margin, self.semi_hard)


def _count_by_comparing(
    positive: Side, negative: Side, d_p: Tensor, d_n: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """Count active triplets per positive and per negative by comparing all negatives with a few positives at a time."""
    # In bytes, which are a quarter of the memory traffic; a negative has at most MAX_COMPARED active triplets.
    c_n = torch.zeros_like(d_n, dtype=torch.uint8)
    c_p = []
    bound = positive.present_or(d_p + margin, ABSENT)[:, :, None]  # (anchor, positive, 1)
    # All positives at once in a small batch, whose time is the number of operations; one at a time in a large one.
    at_once = max(1, MAX_COMPARISONS // max(1, d_n.numel()))
    for start in range(0, d_p.shape[1], at_once):
        some = slice(start, start + at_once)
        active = (d_n[:, None] < bound[:, some]) & negative.present[:, None]  # (anchor, positive, negative)
        if semi_hard:
            active &= d_n[:, None] > d_p[:, some, None]
        c_n += as_bytes(active).sum(dim=1, dtype=torch.uint8)
        c_p.append(active.sum(dim=2))
    return torch.cat(c_p, dim=1).to(d_n.dtype), c_n.to(d_n.dtype)


def _count_by_sorting(
    positive: Side, negative: Side, d_p: Tensor, d_n: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """Count active triplets per positive and per negative by the ranks of d_n - m and d_n among the sorted positives."""
    # Absent positives sort to the front, below every bound.
    ordered, order = torch.where(positive.present, d_p, ABSENT).sort(dim=1)
    # (anchor, negative): a negative is active with the sorted positives from `first` up to, not with, `last`.
    first = torch.searchsorted(ordered, d_n - margin, right=True)
    last = torch.searchsorted(ordered, d_n) if semi_hard else torch.full_like(first, ordered.shape[1])
    c_n = negative.masked((last - first).clamp(min=0).to(d_n.dtype))
    active = c_n.sign()
    # Each active negative adds 1 to all positives of its range: +1 at its start, -1 behind its end, then a running sum.
    edges = d_n.new_zeros(len(d_n), ordered.shape[1] + 1)
    edges = edges.scatter_add(1, first, active).scatter_add(1, last, -active)
    # Back from sorted order to slots.
    c_p = torch.zeros_like(ordered).scatter(1, order, edges.cumsum(dim=1)[:, :-1])
    return positive.masked(c_p), c_n


def _hinge(violation: Tensor, soft: bool) -> tuple[Tensor, Tensor]:
    """Return the hinge or the softplus of (anchor, 1) violations, and its derivative."""
    if soft:
        return log1p_exp(violation), violation.sigmoid()
    return violation.relu(), violation.relu().sign()


def dissimilarity(similarity: Tensor, measure: DistanceMeasure) -> Tensor:
    """Return the distance d, d² or 1 - s of similarities s."""
    match measure:
        case "distance":
            return distance(similarity)
        case "squared":
            return 2 - 2 * similarity
        case "cosine":
            return 1 - similarity


def slope(dissimilarity: Tensor, measure: DistanceMeasure) -> Tensor:
    """Return -dd/ds of a dissimilarity: 1/d (0 where d is 0), 2 or 1."""
    match measure:
        case "distance":
            return reciprocal(dissimilarity)
        case "squared":
            return torch.full_like(dissimilarity, 2.0)
        case "cosine":
            return torch.ones_like(dissimilarity)
