"""Margin loss."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal, working_precision
from pairlens.losses.base import PairWeights, Side, Source, blocks, each_anchor


@dataclass(frozen=True)
class Margin:
    """Margin loss: positives nearer and negatives farther than a boundary that each class learns.

    L = Σ_p [α + d_p - β_c]₊ + Σ_n [α - d_n + β_c]₊ over all anchors, divided by the number of terms above 0, plus ν
    mean β_c; d = √(2 - 2 s), c the class of the anchor.

    Pair weights, over the number of active terms: w_p = 1/d where d > β - α, w_n = 1/d where d < β + α; dL/dβ_c =
    active negatives minus active positives, plus ν.

    It learns: β is a parameter of the criterion, one a class. The paper draws one negative a positive by
    distance-weighted sampling; that is `miners.DistanceWeighted`.

    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, arXiv 1706.07567, equations 5 to 7; α
    = 0.2, β = 1.2 at the start, ν = 0, β at the rate 0.1 in the official code. pytorch-metric-learning's value is the
    same under its miner.

    Attributes:
        alpha: α, the half width of the boundary, in units of distance.
        beta: β at the start, in units of distance.
        nu: ν, the price of a wide boundary.

    >>> similarity = torch.tensor([[0.5, 0.5]])  # both at distance 1
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    >>> Margin()(similarity, pairs, torch.tensor([1.0]))  # (0.2 + 0.2) / 2
    tensor(0.2000)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch", "memory")
    alpha: float = 0.2
    beta: float = 1.2
    nu: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 2, f"alpha {self.alpha} of margin loss is a distance; give 0 to 2")
        require(0 <= self.beta <= 2, f"beta {self.beta} of margin loss is a distance; give 0 to 2")
        require(0 <= self.nu < math.inf, f"nu {self.nu} of margin loss must not be negative")

    def initial(self, classes: int) -> Tensor:
        """Return the (class,) boundaries to start from."""
        return torch.full((classes,), self.beta)

    def __call__(self, similarity: Tensor, pairs: Pairs, learned: Tensor) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities and the (anchor,) boundaries of their classes."""
        similarity = working_precision(similarity)
        beta = learned[:, None].to(similarity.dtype)
        fixed = beta.detach()
        sums = each_anchor(partial(self.weigh, fixed), similarity, pairs)
        far, near = self._active(similarity.detach(), pairs, fixed)
        # The sums are linear in β while the same pairs are active: its slope is all that they know of it.
        sums = sums + (near - far) * (beta - fixed).squeeze(1)
        count = (far + near).masked_fill(~pairs.complete, 0).sum().clamp(min=1)
        return sums.masked_fill(~pairs.complete, 0.0).sum() / count + self.nu * learned.mean()

    def _active(self, similarity: Tensor, pairs: Pairs, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each anchor how many positives are too far and how many negatives too near."""
        least, most = 1 - (beta - self.alpha).clamp(min=0) ** 2 / 2, 1 - (beta + self.alpha) ** 2 / 2
        far, near = [], []
        for rows in blocks(similarity):
            far.append((pairs.positive[rows] & (similarity[rows] < least[rows])).sum(dim=1))
            near.append((pairs.negative[rows] & (similarity[rows] > most[rows])).sum(dim=1))
        return torch.cat(far), torch.cat(near)

    def weigh(self, beta: Tensor, positive: Side, negative: Side) -> PairWeights:
        """Return the sum over the pairs of each anchor and their weights, given the (anchor, 1) boundaries of all."""
        beta = beta[positive.anchors]
        d_p, d_n = distance(positive.similarity), distance(negative.similarity)
        far, near = positive.keep((self.alpha + d_p - beta).relu()), negative.keep((self.alpha - d_n + beta).relu())
        value = far.sum(dim=1, keepdim=True) + near.sum(dim=1, keepdim=True)
        return PairWeights(value, far.sign() * reciprocal(d_p), near.sign() * reciprocal(d_n))
