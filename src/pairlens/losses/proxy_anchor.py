"""Proxy-Anchor loss."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, Source, anchor_losses
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import log1p_exp
from pairlens.losses.tuning_space import SCALE, Range


@dataclass(frozen=True)
class ProxyAnchor:
    """Proxy-Anchor loss: each proxy is an anchor, and the photos of the batch are its positives and negatives.

    L = 1/|P⁺| Σ_{p in P⁺} log(1 + Σ_{x of p} e^{-α (s_xp - δ)}) + 1/|P| Σ_p log(1 + Σ_{x not of p} e^{α (s_xp + δ)}),
    P all proxies, P⁺ those whose class is in the batch.

    Pair weights of a proxy: w_p = α e^{-α (s - δ)} / (1 + Σ) / |P⁺|, w_n = α e^{α (s + δ)} / (1 + Σ) / |P|.

    Source: Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, arXiv 2003.13911, equation 4, α = 32,
    δ = 0.1. It needs its training recipe (learning rate of the proxies × 100, warm-up, gradient clipping):
    `--recipe proxy_anchor_cub`. The official code computes plain exponentials, which overflow in half precision.
    pytorch-metric-learning's value is the same.

    Attributes:
        alpha: α, the scale.
        delta: δ, the margin in units of similarity.

    >>> import torch
    >>> similarity = torch.tensor([[0.1, -0.1]])
    >>> ProxyAnchor()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2 + (log 2)/2
    tensor(1.0397)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {"alpha": SCALE, "delta": Range(0.0, 0.3)}
    alpha: float = 32.0
    delta: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.alpha < math.inf, f"alpha {self.alpha} of Proxy-Anchor is a scale; use a value above 0")
        require(-1 <= self.delta <= 1, f"delta {self.delta} of Proxy-Anchor is a similarity; use -1 to 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return similarity.sum()
        # Transposed, so that the anchors are the proxies: (proxy, photo).
        by_proxy = pairs.transposed
        classes_in_batch = by_proxy.some_positive.to(similarity.dtype).sum().clamp(min=1)
        # The mean below is over all proxies, but the positives' term is a mean over P⁺, hence the factor |P| / |P⁺|.
        weigh = partial(self.weigh, all_to_present=len(by_proxy.positive) / classes_in_batch)
        return anchor_losses(weigh, similarity.T, by_proxy).mean()

    def weigh(self, positive: Side, negative: Side, all_to_present: Tensor | float = 1.0) -> PairWeights:
        """Return the loss and the pair weights of each proxy; `all_to_present` is |P| / |P⁺|."""
        sum_p, softmax_p = positive.logsumexp(-self.alpha * (positive.similarity - self.delta))
        sum_n, softmax_n = negative.logsumexp(self.alpha * (negative.similarity + self.delta))
        value = log1p_exp(sum_p) * all_to_present + log1p_exp(sum_n)
        # e^x / (1 + Σ e) = softmax · sigmoid(log Σ e), in which nothing overflows.
        w_p = softmax_p * (self.alpha * all_to_present * sum_p.sigmoid())
        return PairWeights(value, w_p, softmax_n * (self.alpha * sum_n.sigmoid()))
