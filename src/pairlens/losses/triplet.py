"""Triplet losses: the hardest triplet of each anchor, all of them, or the semi-hard ones."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import Pairs, as_bytes
from pairlens.losses.frame import Side, Weighed, over_anchors
from pairlens.losses.masked import ABSENT, log1p_exp, require

# Up to here, comparing with each of the positives is faster than a binary search among them.
FEW = 8

# Far below the distance that rounding gives two copies of a photo.
NOWHERE = 1e-18

Measure: TypeAlias = Literal["distance", "squared", "cosine"]


@dataclass(frozen=True)
class Triplet:
    """Batch-hard triplet loss: the farthest positive must be nearer than the nearest negative, by a margin.

    L = mean over anchors a of [ max_p d(a, p) - min_n d(a, n) + m ]₊, or with `soft` log(1 + e^{max d - min d + m}),
    where d is the Euclidean distance √(2 - 2 s) of unit vectors, its square, or 1 - s.

    The mean is over the anchors that have a positive and a negative, whether their triplet is active or not.
    Pair weights: -dd/ds (1/d, 2 or 1) on the hardest positive and on the hardest negative of each active anchor, 0
    elsewhere; times sigmoid(max d - min d + m) if soft. Equally hard ones share it.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017, arXiv 1703.07737, equation 5, which sums over
    anchors; the mean makes the loss independent of the batch size. Its soft form has m = 0. Margin 0.1 is the default
    of CGD (Jun et al., 2019, arXiv 1903.10663). pytorch-metric-learning divides by the number of *active* triplets
    instead.

    Two photos at distance zero have no direction in which to be pushed apart: their gradient is zero.

    Attributes:
        margin: m, in units of the measure.
        measure: distance, squared (distance) or cosine (1 - s).
        soft: softplus instead of the hinge.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    >>> Triplet(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1])))
    tensor(0.1000)
    """

    margin: float = 0.1
    measure: Measure = "distance"
    soft: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 4, f"the margin {self.margin} of triplet loss is a distance; give 0 to 4")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> Weighed:
        """Return the loss and the pair weights of each anchor."""
        s_p, s_n = positive.lowest(positive.similarity), negative.highest(negative.similarity)
        both = (s_p < 2) & (s_n > -2)
        s_p, s_n = torch.where(both, s_p, 1.0), torch.where(both, s_n, -1.0)
        d_p, d_n = dissimilarity(s_p, self.measure), dissimilarity(s_n, self.measure)
        value, push = _hinge(d_p - d_n + self.margin, self.soft)
        push_p, push_n = push * slope(d_p, self.measure), push * slope(d_n, self.measure)
        return Weighed(value, positive.shared(s_p) * push_p, negative.shared(s_n) * push_n)


@dataclass(frozen=True)
class AllTriplets:
    """Triplet loss over every triplet of an anchor, or over the semi-hard ones.

    L = mean over anchors of the mean over their active triplets of [ d(a, p) - d(a, n) + m ]₊; a triplet is active if
    d(a, n) < d(a, p) + m, and semi-hard if moreover d(a, p) < d(a, n).

    Pair weights, with T active triplets: w_p = (the negatives active with p) / T · -dd/ds, and likewise w_n. The loss
    is linear in the distances while the same triplets are active, so it is Σ_p c_p d_p - Σ_n c_n d_n + m T over T, and
    only the counts c are needed: they come from the place of d_n and d_n - m among the sorted positives, and nothing
    is cubic.

    Source: Schroff et al., "FaceNet", CVPR 2015, arXiv 1503.03832, equation 3 and section 3.2 (margin 0.2 on squared
    distances); the mean over active triplets is L_BA≠0 of Hermans et al., 2017, arXiv 1703.07737.
    pytorch-metric-learning averages over the active triplets of the whole batch at once; with as many in every anchor
    that is the same.

    Attributes:
        margin: m, in units of the measure.
        measure: distance, squared (distance) or cosine (1 - s).
        semi_hard: only negatives that are farther than the positive.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    >>> AllTriplets(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1])))
    tensor(0.1000)
    """

    margin: float = 0.1
    measure: Measure = "distance"
    semi_hard: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 4, f"the margin {self.margin} of triplet loss is a distance; give 0 to 4")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> Weighed:
        """Return the loss and the pair weights of each anchor."""
        d_p, d_n = (dissimilarity(side.similarity, self.measure) for side in (positive, negative))
        c_p, c_n = _active(positive, negative, d_p.detach(), d_n.detach(), self.margin, self.semi_hard)
        triplets = c_n.sum(dim=1, keepdim=True)
        sums = positive.total(c_p * d_p) - negative.total(c_n * d_n) + self.margin * triplets
        share = 1 / triplets.clamp(min=1)
        return Weighed(sums * share, c_p * slope(d_p, self.measure) * share, c_n * slope(d_n, self.measure) * share)


def _active(
    positive: Side, negative: Side, d_p: Tensor, d_n: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """Return of each positive and of each negative how many active triplets it is in."""
    few = d_p.shape[1] <= FEW
    return (_count if few else _count_sorted)(positive, negative, d_p, d_n, margin, semi_hard)


def _count(
    positive: Side, negative: Side, d_p: Tensor, d_n: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """Count by comparing the negatives with one positive after the other, in bytes."""
    c_n, c_p = torch.zeros_like(d_n, dtype=torch.uint8), []
    for one, present in zip(d_p.split(1, dim=1), positive.present.split(1, dim=1), strict=True):
        active = (d_n < torch.where(present, one + margin, ABSENT)) & negative.present
        if semi_hard:
            active &= d_n > one
        c_n += as_bytes(active)
        c_p.append(active.sum(dim=1))
    return torch.stack(c_p, dim=1).to(d_n.dtype), c_n.to(d_n.dtype)


def _count_sorted(
    positive: Side, negative: Side, d_p: Tensor, d_n: Tensor, margin: float, semi_hard: bool
) -> tuple[Tensor, Tensor]:
    """Count by the places of d_n - m and d_n among the sorted positives."""
    ordered, order = torch.where(positive.present, d_p, ABSENT).sort(dim=1)
    first = torch.searchsorted(ordered, d_n - margin, right=True)
    last = torch.searchsorted(ordered, d_n) if semi_hard else torch.full_like(first, ordered.shape[1])
    c_n = negative.keep((last - first).clamp(min=0).to(d_n.dtype))
    # A negative is active with the places first to last of the sorted positives: one up, one down, and a running sum.
    active = c_n.sign()
    edges = d_n.new_zeros(len(d_n), ordered.shape[1] + 1)
    edges = edges.scatter_add(1, first, active).scatter_add(1, last, -active)
    c_p = torch.zeros_like(ordered).scatter(1, order, edges.cumsum(dim=1)[:, :-1])
    return positive.keep(c_p), c_n


def _hinge(violation: Tensor, soft: bool) -> tuple[Tensor, Tensor]:
    if soft:
        return log1p_exp(violation), violation.sigmoid()
    return violation.relu(), violation.relu().sign()


def dissimilarity(similarity: Tensor, measure: Measure) -> Tensor:
    """Return the distance d, d² or 1 - s of similarities s."""
    match measure:
        case "distance":
            return distance(similarity)
        case "squared":
            return 2 - 2 * similarity
        case "cosine":
            return 1 - similarity


def slope(dissimilarity: Tensor, measure: Measure) -> Tensor:
    """Return how fast a dissimilarity falls with the similarity: 1/d (0 where d is 0), 2 or 1."""
    match measure:
        case "distance":
            return reciprocal(dissimilarity)
        case "squared":
            return torch.full_like(dissimilarity, 2.0)
        case "cosine":
            return torch.ones_like(dissimilarity)


def distance(similarity: Tensor) -> Tensor:
    """Return the Euclidean distance d = √(2 - 2 s) of unit vectors, with gradient 0 where it is 0.

    There it is the smallest root that is a normal number, 1e-19, so that neither the root nor 1/d needs a mask.

    >>> distance(torch.tensor([1.0, 0.5, -1.0])).round(decimals=4)
    tensor([0., 1., 2.])
    """
    return torch.rsub(similarity, 2, alpha=2).clamp(min=torch.finfo(similarity.dtype).tiny).sqrt()


def reciprocal(distances: Tensor) -> Tensor:
    """Return 1/d = -dd/ds, 0 where d is 0.

    >>> reciprocal(distance(torch.tensor([1.0, 0.5])))
    tensor([0., 1.])
    """
    # A threshold is a pass; to compare and to select is seven times one.
    return F.threshold(-1 / distances, -1 / NOWHERE, 0.0).abs()
