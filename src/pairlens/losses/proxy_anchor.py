"""Proxy-Anchor loss."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, Source, each_anchor
from pairlens.losses.reductions import log1p_exp


@dataclass(frozen=True)
class ProxyAnchor:
    """Proxy-Anchor loss: each proxy is an anchor, with the photos of the batch as its positives and negatives.

    L = 1/|P⁺| Σ_{p in P⁺} log(1 + Σ_{x of p} e^{-α (s_xp - δ)}) + 1/|P| Σ_p log(1 + Σ_{x not of p} e^{α (s_xp + δ)}),
    P all proxies, P⁺ those with a photo in the batch.

    Pair weights of a proxy: w_p = α e^{-α (s - δ)} / (1 + Σ) / |P⁺|, w_n = α e^{α (s + δ)} / (1 + Σ) / |P|.

    Source: Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, arXiv 2003.13911, equation 4, α = 32,
    δ = 0.1. Its recipe belongs to it (rate of the proxies × 100, warm-up, clipping): `--recipe proxy_anchor_cub`. The
    official code takes plain exponentials, which overflow in half precision; pytorch-metric-learning's value is the
    same as ours.

    Attributes:
        alpha: α, the scale.
        delta: δ, the margin in units of similarity.

    >>> import torch
    >>> similarity = torch.tensor([[0.1, -0.1]])
    >>> ProxyAnchor()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2 + (log 2)/2
    tensor(1.0397)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    alpha: float = 32.0
    delta: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.alpha < math.inf, f"alpha {self.alpha} of Proxy-Anchor is a scale; give it above 0")
        require(-1 <= self.delta <= 1, f"delta {self.delta} of Proxy-Anchor is a similarity; give -1 to 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        proxies = pairs.transposed
        met = proxies.some_positive.to(similarity.dtype).sum().clamp(min=1)
        weigh = partial(self.weigh, all_to_met=len(proxies.positive) / met)
        return each_anchor(weigh, similarity.T, proxies).mean()

    def weigh(self, positive: Side, negative: Side, all_to_met: Tensor | float = 1.0) -> PairWeights:
        """Return the loss and the pair weights of each proxy; `all_to_met` is |P| / |P⁺|."""
        sum_p, share_p = positive.logsumexp(-self.alpha * (positive.similarity - self.delta))
        sum_n, share_n = negative.logsumexp(self.alpha * (negative.similarity + self.delta))
        value = log1p_exp(sum_p) * all_to_met + log1p_exp(sum_n)
        w_p = share_p * (self.alpha * all_to_met * sum_p.sigmoid())
        return PairWeights(value, w_p, share_n * (self.alpha * sum_n.sigmoid()))
