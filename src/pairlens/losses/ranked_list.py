"""Ranked list loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class RankedList(AnchorLoss):
    """Ranked list loss: positives inside one sphere around the anchor, negatives outside a larger one.

    L = mean over anchors of (1 - λ) Σ_p ω_p [d_p - (α - m)]₊ + λ Σ_n ω_n [α - d_n]₊ with d = √(2 - 2 s). The weights ω
    are constant in the gradient and sum to 1 over the pairs that violate: ω_p ∝ e^{T_p (d_p - (α - m))} and
    ω_n ∝ e^{T_n (α - d_n)}.

    Pair weights: w_p = (1 - λ) ω_p / d_p and w_n = λ ω_n / d_n, where violated.

    Source: Wang et al., "Ranked List Loss for Deep Metric Learning", CVPR 2019, arXiv 1903.03238: α = 1.2, m = 0.4,
    T_n = 10, T_p = 0, λ = 0.5. pytorch-metric-learning adds 1e-5 to each weight in the sum that it divides by, which lowers
    the value by some 1e-5 and is left out here, and lets the gradient pass through ω.

    Attributes:
        alpha: α, the distance that negatives must have.
        margin: m; positives must be within α - m.
        t_positive: T_p; the higher, the more the worst positives dominate (0: all count the same).
        t_negative: T_n; the higher, the more the worst negatives dominate.
        lam: λ, the weight of the negatives, 0 to 1.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])  # both at distance 1
    >>> RankedList()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.2000)
    """

    space: ClassVar[dict[str, Range]] = {"alpha": Range(0.8, 1.4), "margin": Range(0.1, 0.8)}
    alpha: float = 1.2
    margin: float = 0.4
    t_positive: float = 0.0
    t_negative: float = 10.0
    lam: float = 0.5

    def __post_init__(self) -> None:
        require(
            0 <= self.margin <= self.alpha <= 2,
            f"alpha {self.alpha} and margin {self.margin} of ranked list loss must satisfy 0 <= margin <= alpha <= 2",
        )
        require(0 <= self.lam <= 1, f"lam {self.lam} of ranked list loss is a weight; use 0 to 1")
        for name in ("t_positive", "t_negative"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of ranked list loss must not be negative; use 0 or more")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_p = distance(positive.similarity)
        d_n = distance(negative.similarity)
        loss_p, omega_p = _violations(positive, d_p - (self.alpha - self.margin), self.t_positive)
        loss_n, omega_n = _violations(negative, self.alpha - d_n, self.t_negative)
        # ω is constant, so the derivative of ω d is ω times that of d.
        w_p = (1 - self.lam) * omega_p * reciprocal(d_p)
        w_n = self.lam * omega_n * reciprocal(d_n)
        return PairWeights((1 - self.lam) * loss_p + self.lam * loss_n, w_p, w_n)


def _violations(side: Side, excess: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the (anchor, 1) weighted mean excess of the pairs that violate, and their (anchor, slot) weights."""
    violated = Side(side.similarity, side.present & (excess > 0))
    # Detached: the weights order the pairs by difficulty, and the paper holds them constant.
    _, omega = violated.logsumexp(temperature * excess.detach())
    return (omega * excess).sum(dim=1, keepdim=True), omega
