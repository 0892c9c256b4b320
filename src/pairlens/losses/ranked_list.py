"""Ranked list loss."""

import math
from dataclasses import dataclass

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.base import PairWeights, Side, over_anchors


@dataclass(frozen=True)
class RankedList:
    """Ranked list loss: positives inside one sphere around the anchor, negatives outside a larger one.

    L = mean over anchors of (1 - λ) Σ_p ω_p [d_p - (α - m)]₊ + λ Σ_n ω_n [α - d_n]₊ with d = √(2 - 2 s), where ω are
    constant weights with sum 1 over the pairs that violate: ω_p ∝ e^{T_p (d_p - (α - m))} and ω_n ∝ e^{T_n (α - d_n)}.

    Pair weights: w_p = (1 - λ) ω_p / d_p and w_n = λ ω_n / d_n, where violated.

    Source: Wang et al., "Ranked List Loss for Deep Metric Learning", CVPR 2019, arXiv 1903.03238: α = 1.2, m = 0.4,
    T_n = 10, T_p = 0, λ = 0.5.

    Attributes:
        alpha: α, the distance that negatives must have.
        margin: m; positives must be within α - m.
        t_positive: T_p, how much more a worse positive counts.
        t_negative: T_n, how much more a worse negative counts.
        lam: λ, the share of the negatives, 0 to 1.

    >>> import torch
    >>> similarity = torch.tensor([[0.5, 0.5]])  # both at distance 1
    >>> RankedList()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.2000)
    """

    alpha: float = 1.2
    margin: float = 0.4
    t_positive: float = 0.0
    t_negative: float = 10.0
    lam: float = 0.5

    def __post_init__(self) -> None:
        require(
            0 <= self.margin <= self.alpha <= 2, f"alpha {self.alpha} and margin {self.margin} must be 0 <= m <= α <= 2"
        )
        require(0 <= self.lam <= 1, f"lam {self.lam} of ranked list loss is a share; give 0 to 1")
        for name in ("t_positive", "t_negative"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of ranked list loss must not be negative")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_p, d_n = distance(positive.similarity), distance(negative.similarity)
        loss_p, omega_p = _violations(positive, d_p - (self.alpha - self.margin), self.t_positive)
        loss_n, omega_n = _violations(negative, self.alpha - d_n, self.t_negative)
        w_p, w_n = (1 - self.lam) * omega_p * reciprocal(d_p), self.lam * omega_n * reciprocal(d_n)
        return PairWeights((1 - self.lam) * loss_p + self.lam * loss_n, w_p, w_n)


def _violations(side: Side, excess: Tensor, steepness: float) -> tuple[Tensor, Tensor]:
    """Return the weighted mean excess of the pairs that violate, and the weights."""
    violated = Side(side.similarity, side.present & (excess > 0))
    _, omega = violated.logsumexp(steepness * excess.detach())
    return (omega * excess).sum(dim=1, keepdim=True), omega
