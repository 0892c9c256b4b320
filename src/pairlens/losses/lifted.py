"""Lifted structure losses: the original of two anchors, and its generalisation to one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.base import PairWeights, Side, Source, each_anchor, over_anchors, positive_columns, runs_eagerly


@dataclass(frozen=True)
class LiftedStructure:
    """Lifted structure loss: a positive pair against all the negatives of both its photos.

    L = 1/(2 |P|) Σ_{(i,j) in P} [J_ij]₊²,  J_ij = log( Σ_k e^{a - d_ik} + Σ_l e^{a - d_jl} ) + d_ij,
    over the pairs P of one class, k the negatives of i and l those of j, d = √(2 - 2 s).

    On distances: dL/dd_ij = J_ij/|P|, and dL/dd_ik = -Σ_j J_ij/|P| · e^{a - d_ik} / (the sum in J_ij). The inner sums
    are one log-sum a photo, so the loss costs |P| and not |P| times the negatives.

    Source: Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016, arXiv 1511.06452,
    equation 4, a = 1. pytorch-metric-learning builds a (positive pair, negative pair) matrix; its value is the same.

    Attributes:
        margin: a, in units of distance.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])  # all at distance 1
    >>> LiftedStructure()(similarity, Pairs.within(torch.tensor([0, 0, 1])))  # (log 2 + 1)² / 2
    tensor(1.4334)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    margin: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 <= self.margin <= 10, f"the margin {self.margin} of lifted structure loss is a distance; give 0 to 10"
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, photo) cosine similarities of one batch."""
        log_sums = each_anchor(self._weigh_negatives, similarity, pairs)
        places = positive_columns(pairs) if runs_eagerly(similarity) else None
        if places is None:
            partner, d, taken = log_sums[None, :], distance(similarity), pairs.positive
        else:
            partner, d, taken = log_sums[places.column], distance(similarity.gather(1, places.column)), places.taken
        taken = taken & pairs.complete[:, None]
        j = torch.where(taken, torch.logaddexp(log_sums[:, None], partner) + d, 0.0).relu()
        return (j**2).sum() / (2 * taken.sum().clamp(min=1))

    def _weigh_negatives(self, positive: Side, negative: Side) -> PairWeights:
        d_n = distance(negative.similarity)
        log_sum, share = negative.logsumexp(self.margin - d_n)
        return PairWeights(log_sum, torch.zeros_like(positive.similarity), share * reciprocal(d_n))


@dataclass(frozen=True)
class GeneralizedLifted:
    """Generalised lifted structure loss: all positives of an anchor against all its negatives.

    L = mean over anchors of [ log Σ_p e^{d_p} + log Σ_n e^{m - d_n} ]₊  with  d = √(2 - 2 s).

    Pair weights, where the loss is above 0: w_p = softmax_p(d) / d_p, w_n = softmax_n(-d) / d_n.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017, arXiv 1703.07737, equation 8; m = 1.

    Attributes:
        margin: m, in units of distance.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> GeneralizedLifted()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(1.)
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 <= self.margin <= 10, f"the margin {self.margin} of generalised lifted loss is a distance; give 0 to 10"
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_p, d_n = distance(positive.similarity), distance(negative.similarity)
        sum_p, share_p = positive.logsumexp(d_p)
        sum_n, share_n = negative.logsumexp(self.margin - d_n)
        violation = sum_p + sum_n
        push = violation.relu().sign()
        return PairWeights(violation.relu(), push * share_p * reciprocal(d_p), push * share_n * reciprocal(d_n))
