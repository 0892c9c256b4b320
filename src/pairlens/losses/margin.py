"""Margin loss."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.inputs import as_values
from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.base import PairWeights, Side, Source, anchor_losses, row_blocks
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class Margin:
    """Margin loss: positives nearer and negatives farther than a boundary, which is learned per class.

    L = Σ_p [α + d_p - β_c]₊ + Σ_n [α - d_n + β_c]₊ over all anchors, divided by the number of terms above 0, plus ν
    mean β_c; d = √(2 - 2 s), c the class of the anchor.

    Pair weights, over the number of active terms: w_p = 1/d where d > β - α, w_n = 1/d where d < β + α; dL/dβ_c =
    active negatives minus active positives, plus ν.

    β is a parameter of the criterion, one per class. The paper samples one negative per positive by distance-weighted
    sampling; that is `miners.DistanceWeighted`.

    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, arXiv 1706.07567, equations 5 to 7; α
    = 0.2, initial β = 1.2, ν = 0, learning rate of β 0.1 in the official code. pytorch-metric-learning's value is the
    same under its miner.

    Attributes:
        alpha: α, the half width of the boundary, in units of distance.
        beta: initial β, in units of distance.
        nu: ν, the weight of the penalty on a wide boundary.

    >>> similarity = torch.tensor([[0.5, 0.5]])  # both at distance 1
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    >>> Margin()(similarity, pairs, torch.tensor([1.0]))  # (0.2 + 0.2) / 2
    tensor(0.2000)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch", "memory")
    space: ClassVar[dict[str, Range]] = {"alpha": Range(0.05, 0.5), "beta": Range(0.6, 1.4)}
    alpha: float = 0.2
    beta: float = 1.2
    nu: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 2, f"alpha {self.alpha} of margin loss is a distance; use 0 to 2")
        require(0 <= self.beta <= 2, f"beta {self.beta} of margin loss is a distance; use 0 to 2")
        require(0 <= self.nu < math.inf, f"nu {self.nu} of margin loss must not be negative; use 0 or more")

    def initial(self, classes: int) -> Tensor:
        """Return the (class,) initial boundaries."""
        return torch.full((classes,), self.beta)

    def __call__(self, similarity: Tensor, pairs: Pairs, learned: Tensor) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities and the (anchor,) boundaries of their classes."""
        similarity = as_similarity(similarity, pairs)
        learned = as_values(learned, "learned boundaries")
        if learned.shape != similarity.shape[:1]:
            raise ValueError(
                f"margin loss takes one boundary for each of the {len(similarity)} anchors, not {tuple(learned.shape)}"
            )
        if not similarity.numel():
            return similarity.sum() + learned[:0].sum()
        beta = learned[:, None].to(similarity.dtype)  # (anchor, 1)
        constant_beta = beta.detach()
        sums = anchor_losses(partial(self.weigh, constant_beta), similarity, pairs)
        far, near = self._count_active(similarity.detach(), pairs, constant_beta)
        # `sums` has no gradient by β. While the same pairs are active it is linear in β with slope near - far, so a term
        # of value 0 with that slope adds the gradient.
        sums = sums + (near - far) * (beta - constant_beta).squeeze(1)
        count = (far + near).masked_fill(~pairs.complete, 0).sum().clamp(min=1)
        return sums.masked_fill(~pairs.complete, 0.0).sum() / count + self.nu * learned.mean()

    def _count_active(self, similarity: Tensor, pairs: Pairs, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (anchor,) numbers of positives that are too far and of negatives that are too near."""
        # The bounds β - α and β + α of the distance, (anchor, 1), as similarities s = 1 - d²/2.
        bound_p = 1 - (beta - self.alpha).clamp(min=0) ** 2 / 2
        bound_n = 1 - (beta + self.alpha) ** 2 / 2
        far, near = [], []
        for rows in row_blocks(similarity):
            far.append((pairs.positive[rows] & (similarity[rows] < bound_p[rows])).sum(dim=1))
            near.append((pairs.negative[rows] & (similarity[rows] > bound_n[rows])).sum(dim=1))
        return torch.cat(far), torch.cat(near)

    def weigh(self, beta: Tensor, positive: Side, negative: Side) -> PairWeights:
        """Return the sum over the pairs of each anchor and their weights, given the (anchor, 1) boundaries of all rows."""
        own_beta = beta[positive.anchors]  # of the rows of this block
        d_p = distance(positive.similarity)
        d_n = distance(negative.similarity)
        far = positive.masked((self.alpha + d_p - own_beta).relu())
        near = negative.masked((self.alpha - d_n + own_beta).relu())
        value = far.sum(dim=1, keepdim=True) + near.sum(dim=1, keepdim=True)
        return PairWeights(value, far.sign() * reciprocal(d_p), near.sign() * reciprocal(d_n))
