"""Recall@k surrogate."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, over_anchors
from pairlens.losses.smooth_rank import Cost, over_ranks, sigmoid_step, weights_are_gradient


@dataclass(frozen=True)
class RecallAtK:
    """Recall@k surrogate: one minus the share of positives within the first k, both comparisons made smooth.

    L = mean over anchors of 1 - mean_k (1/min(k, |P|)) Σ_p σ((k - r_p)/t₁), r_p = 1 + Σ_{j ≠ p} σ((s_j - s_p)/t₂).

    Pair weights: products of the slopes of the two sigmoids, so they are largest for positives near rank k and for
    references nearly as similar as they.

    Source: Patel, Tolias, Matas, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", CVPR 2022, arXiv
    2108.11179, equations 4 to 7: k = 1, 2, 4, 8, 16, t₁ = 1, t₂ = 0.01. The official code counts the query itself in
    every rank, one too many; that is `count_query`, and exact is the default. Its command line has t₁ = k for each k
    unless told otherwise, and it caps Σ_p σ at k, which matters only where t₁ is large and positives are many.
    pytorch-metric-learning does not have this loss.

    However low the temperatures, a positive at rank k itself counts half, for σ(0) = ½.

    Attributes:
        k: the ranks.
        rank_temperature: t₁, in ranks.
        similarity_temperature: t₂, in units of similarity.
        count_query: whether the query counts as a reference above all others, as in the official code.

    >>> similarity = torch.tensor([[0.5, 0.4]])  # the positive has rank 1
    >>> RecallAtK(k=(1,))(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.5000)
    """

    k: tuple[int, ...] = (1, 2, 4, 8, 16)
    rank_temperature: float = 1.0
    similarity_temperature: float = 0.01
    count_query: bool = False

    def __post_init__(self) -> None:
        require(bool(self.k) and min(self.k) >= 1, f"k {self.k} of the Recall@k surrogate must be ranks of at least 1")
        for name in ("rank_temperature", "similarity_temperature"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of the Recall@k surrogate must be above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        step, shares = sigmoid_step(self.similarity_temperature), self._shares(positive)

        def price(above_p: Tensor, above_n: Tensor) -> Cost:
            rank = 1 + self.count_query + above_p + above_n
            recall, slope = torch.zeros_like(rank), torch.zeros_like(rank)
            for k, share in zip(self.k, shares, strict=True):
                within = ((k - rank) / self.rank_temperature).sigmoid()
                recall = recall + within * share
                slope = slope + within * (1 - within) * share / self.rank_temperature
            return Cost(-recall, slope, slope)

        cost, w_p, w_n = over_ranks(positive, negative, step, step, price)
        return PairWeights(1 + cost, w_p, w_n)

    def _shares(self, positive: Side) -> list[Tensor]:
        """Return for each k what one positive within the first k adds to the mean recall."""
        return [1 / positive.count.clamp(max=k) / len(self.k) for k in self.k]
