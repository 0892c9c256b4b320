"""Recall@k surrogate loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.smooth_rank import Cost, sigmoid_step, sum_over_ranks, weights_are_gradient
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class RecallAtK(AnchorLoss):
    """Recall@k surrogate: one minus the share of positives within the first k, with smooth ranks and a smooth threshold.

    L = mean over anchors of 1 - mean_k (1/min(k, |P|)) Σ_p σ((k - r_p)/t₁), r_p = 1 + Σ_{j ≠ p} σ((s_j - s_p)/t₂).

    Pair weights: products of the slopes of the two sigmoids, so they are largest for positives near rank k and for
    references with nearly the same similarity.

    Source: Patel, Tolias, Matas, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", CVPR 2022, arXiv
    2108.11179, equations 4 to 7: k = 1, 2, 4, 8, 16, t₁ = 1, t₂ = 0.01. The official code counts the query itself in
    every rank, which makes ranks one too high; that is `count_query`, off by default. Its command line uses t₁ = k for
    each k by default, and it caps Σ_p σ at k, which matters only if t₁ is large and there are many positives.
    pytorch-metric-learning does not have this loss.

    At any temperature, a positive at rank k itself counts half, because σ(0) = ½.

    Attributes:
        k: the ranks.
        rank_temperature: t₁, in ranks.
        similarity_temperature: t₂, in units of similarity.
        count_query: whether the query counts as a reference above all others, as in the official code.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.4]])  # the positive has rank 1
    >>> RecallAtK(k=(1,))(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.5000)
    """

    space: ClassVar[dict[str, Range]] = {"similarity_temperature": Range(0.003, 0.1, log=True)}
    k: tuple[int, ...] = (1, 2, 4, 8, 16)
    rank_temperature: float = 1.0
    similarity_temperature: float = 0.01
    count_query: bool = False

    def __post_init__(self) -> None:
        require(bool(self.k) and min(self.k) >= 1, f"k {self.k} of the Recall@k surrogate must be ranks of at least 1")
        for name in ("rank_temperature", "similarity_temperature"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of the Recall@k surrogate is a scale; use a value above 0")

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        step = sigmoid_step(self.similarity_temperature)
        # For each k, (anchor, 1): what one positive within the first k adds to the mean recall.
        shares = [1 / positive.count.clamp(max=k) / len(self.k) for k in self.k]

        def price(above_p: Tensor, above_n: Tensor) -> Cost:
            rank = 1 + self.count_query + above_p + above_n  # (anchor, slot)
            recall = torch.zeros_like(rank)
            slope = torch.zeros_like(rank)  # -d(recall)/d(rank)
            for k, share in zip(self.k, shares, strict=True):
                within = ((k - rank) / self.rank_temperature).sigmoid()
                recall = recall + within * share
                slope = slope + within * (1 - within) * share / self.rank_temperature
            # A positive above and a negative above raise the rank alike.
            return Cost(-recall, slope, slope)

        cost, w_p, w_n = sum_over_ranks(positive, negative, step, step, price)
        return PairWeights(1 + cost, w_p, w_n)
