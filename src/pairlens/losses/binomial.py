"""Binomial deviance."""

import math
from dataclasses import dataclass

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.frame import Side, Weighed, over_anchors
from pairlens.losses.masked import log1p_exp


@dataclass(frozen=True)
class BinomialDeviance:
    """Binomial deviance: a logistic loss of every pair, weighted by its own similarity alone.

    L = mean over anchors of mean_p log(1 + e^{α (λ - s_p)}) + mean_n log(1 + e^{β (s_n - λ)}).

    Pair weights: w_p = α/|P| sigmoid(α (λ - s_p)), w_n = β/|N| sigmoid(β (s_n - λ)).

    Source: Yi, Lei, Li, "Deep Metric Learning for Practical Person Re-Identification", 2014, arXiv 1407.4979. The
    scales α = 2, β = 40 and λ = 0.5 are those of the code bnu-wangxun/Deep_Metric. pytorch-metric-learning does not
    have this loss.

    Attributes:
        alpha: α, the scale of positives.
        beta: β, the scale of negatives.
        lam: λ, the similarity between the two.

    >>> import torch
    >>> similarity = torch.tensor([[1.0, 0.5, 0.5]])
    >>> BinomialDeviance()(similarity, Pairs(similarity == 2, similarity == 2))
    tensor(0.)
    >>> BinomialDeviance()(similarity[:, 1:], Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # 2 log 2
    tensor(1.3863)
    """

    alpha: float = 2.0
    beta: float = 40.0
    lam: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of binomial deviance is a scale; give it above 0")
        require(-1 <= self.lam <= 1, f"lam {self.lam} of binomial deviance is a similarity; give -1 to 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> Weighed:
        """Return the loss and the pair weights of each anchor."""
        logit_p = self.alpha * (self.lam - positive.similarity)
        logit_n = self.beta * (negative.similarity - self.lam)
        value = (
            positive.total(log1p_exp(logit_p)) / positive.count + negative.total(log1p_exp(logit_n)) / negative.count
        )
        w_p = positive.keep(logit_p.sigmoid()) * (self.alpha / positive.count)
        return Weighed(value, w_p, negative.keep(logit_n.sigmoid()) * (self.beta / negative.count))
