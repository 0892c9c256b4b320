"""Lifted structure loss, and its generalised form."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.core.tracing import is_readable
from pairlens.losses.base import AnchorLoss, PairWeights, Side, Source, anchor_losses
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.positive_columns import positive_columns
from pairlens.losses.tuning_space import Range

LIFTED_SPACE = {"margin": Range(0.3, 1.5)}


@dataclass(frozen=True)
class LiftedStructure:
    """Lifted structure loss: a positive pair against all negatives of both its photos.

    L = 1/(2 |P|) Σ_{(i,j) in P} [J_ij]₊²,  J_ij = log( Σ_k e^{a - d_ik} + Σ_l e^{a - d_jl} ) + d_ij,
    over the pairs P of one class, k the negatives of i and l those of j, d = √(2 - 2 s).

    Derivatives by distances: dL/dd_ij = J_ij/|P|, and dL/dd_ik = -Σ_j J_ij/|P| · e^{a - d_ik} / (the sum in J_ij). The
    inner sums are one log-sum per photo, so the cost grows with |P| and not with |P| times the negatives.

    Source: Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016, arXiv 1511.06452,
    equation 4, a = 1. pytorch-metric-learning builds a (positive pair, negative pair) matrix; its value is the same.

    Attributes:
        margin: a, in units of distance.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])  # all at distance 1
    >>> LiftedStructure()(similarity, Pairs.within(torch.tensor([0, 0, 1])))  # (log 2 + 1)² / 2
    tensor(1.4334)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    space: ClassVar[dict[str, Range]] = LIFTED_SPACE
    margin: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 10, f"the margin {self.margin} of lifted structure loss is a distance; use 0 to 10")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, photo) cosine similarities of one batch."""
        similarity = as_similarity(similarity, pairs)
        log_sums = anchor_losses(self._weigh_negatives, similarity, pairs)  # (photo,) log Σ_k e^{a - d_ik}
        columns = positive_columns(pairs) if is_readable(similarity) else None
        # partner is the log-sum of the photo j of each pair (i, j); all three are (photo, slot).
        if columns is None:
            d = distance(similarity)
            partner = log_sums[None, :]
            taken = pairs.positive
        else:
            d = distance(similarity.gather(1, columns.column))
            partner = log_sums[columns.column]
            taken = columns.taken
        counted = taken & pairs.complete[:, None]
        j = torch.where(counted, torch.logaddexp(log_sums[:, None], partner) + d, 0.0).relu()
        # Every pair of photos is in the matrix twice, as (i, j) and (j, i), and so in both sums.
        return (j**2).sum() / (2 * counted.sum().clamp(min=1))

    def _weigh_negatives(self, positive: Side, negative: Side) -> PairWeights:
        d_n = distance(negative.similarity)
        log_sum, softmax = negative.logsumexp(self.margin - d_n)
        return PairWeights(log_sum, torch.zeros_like(positive.similarity), softmax * reciprocal(d_n))


@dataclass(frozen=True)
class GeneralizedLifted(AnchorLoss):
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

    space: ClassVar[dict[str, Range]] = LIFTED_SPACE
    margin: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 <= self.margin <= 10, f"the margin {self.margin} of generalised lifted loss is a distance; use 0 to 10"
        )

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_p = distance(positive.similarity)
        d_n = distance(negative.similarity)
        sum_p, softmax_p = positive.logsumexp(d_p)
        sum_n, softmax_n = negative.logsumexp(self.margin - d_n)
        value = (sum_p + sum_n).relu()  # (anchor, 1)
        active = value.sign()
        # dd/ds = -1/d, and 0 for identical photos, which have no direction in which to move apart.
        return PairWeights(value, active * softmax_p * reciprocal(d_p), active * softmax_n * reciprocal(d_n))
