"""Neighbourhood component analysis."""

import math
from dataclasses import dataclass
from typing import ClassVar

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.reductions import log1p_exp
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class NCA(AnchorLoss):
    """NCA: the probability that a randomly drawn neighbour has the class of the anchor.

    L = mean over anchors of -log( Σ_p e^{-σ d_p²} / (Σ_p e^{-σ d_p²} + Σ_n e^{-σ d_n²}) ) with d² = 2 - 2 s.

    Pair weights, with z = 1 - e^{-L_a} the probability of a neighbour of another class: w_p = 2 σ z softmax_p(2 σ s),
    w_n = 2 σ z softmax_n(2 σ s). The sum over positives is inside the logarithm, so one near positive is enough, where
    SupCon pulls at all of them.

    Source: Goldberger et al., "Neighbourhood Components Analysis", NIPS 2004; of its two objectives the one with the
    logarithm, which learns a linear map there. pytorch-metric-learning has this value and gradient with σ = 1 by default.
    On proxies it is `ProxyNCAPlus` with temperature 1/σ.

    Attributes:
        scale: σ, the inverse of a temperature, of squared distances.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> NCA()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    space: ClassVar[dict[str, Range]] = {"scale": Range(0.5, 32, log=True)}
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 < self.scale < math.inf,
            f"the scale {self.scale} of NCA is the inverse of a temperature; use a value above 0",
        )

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        # -σ d² = 2 σ s - 2 σ, and a constant cancels in a softmax.
        slope = 2 * self.scale
        sum_p, softmax_p = positive.logsumexp(slope * positive.similarity)
        sum_n, softmax_n = negative.logsumexp(slope * negative.similarity)
        gap = sum_n - sum_p  # (anchor, 1); its sigmoid is z
        push = slope * gap.sigmoid()
        return PairWeights(log1p_exp(gap), push * softmax_p, push * softmax_n)
