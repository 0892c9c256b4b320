"""Multi-similarity loss and binomial deviance."""

import math
from dataclasses import dataclass

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, over_anchors
from pairlens.losses.reductions import log1p_exp


@dataclass(frozen=True)
class MultiSimilarity:
    """Multi-similarity loss: pairs are chosen by the other side of their anchor, and weighted by their own.

    Mining keeps a negative if s_n > min_p s_p - ε and a positive if s_p < max_n s_n + ε. Over what is kept,
    L = mean over anchors of (1/α) log(1 + Σ_p e^{-α (s_p - λ)}) + (1/β) log(1 + Σ_n e^{β (s_n - λ)}),
    where an anchor of which mining leaves one side empty counts as 0.

    Pair weights: w_p = e^{-α (s_p - λ)} / (1 + Σ_p e^{-α (s_p - λ)}), w_n = e^{β (s_n - λ)} / (1 + Σ_n e^{β (s_n -
    λ)}).

    Source: Wang et al., "Multi-Similarity Loss with General Pair Weighting", CVPR 2019, arXiv 1904.06627, equations 13
    to 16. The paper has β = 50, its official code 40; α = 2, λ = 0.5, ε = 0.1 are the code's. That code takes a photo
    for its own twin if s > 1 - 1e-5 and so drops duplicates; here only the photo itself is left out, by index. It
    divides by the batch; here by the anchors that have a positive and a negative before mining.
    pytorch-metric-learning's loss mines only with its miner beside it.

    Attributes:
        alpha: α, the scale of positives.
        beta: β, the scale of negatives.
        lam: λ, the similarity between the two.
        epsilon: ε, the slack of the mining.
        mining: whether pairs are mined.

    >>> import torch
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    >>> MultiSimilarity(alpha=1, beta=1)(similarity, pairs)  # 2 log 2
    tensor(1.3863)
    """

    alpha: float = 2.0
    beta: float = 40.0
    lam: float = 0.5
    epsilon: float = 0.1
    mining: bool = True

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of multi-similarity is a scale; give it above 0")
        require(-1 <= self.lam <= 1, f"lam {self.lam} of multi-similarity is a similarity; give -1 to 1")
        require(0 <= self.epsilon <= 2, f"epsilon {self.epsilon} of multi-similarity is a slack; give 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        if self.mining:
            positive, negative = self.mine(positive, negative)
        sum_p, share_p = positive.logsumexp(-self.alpha * (positive.similarity - self.lam))
        sum_n, share_n = negative.logsumexp(self.beta * (negative.similarity - self.lam))
        value = log1p_exp(sum_p) / self.alpha + log1p_exp(sum_n) / self.beta
        return PairWeights(value, share_p * sum_p.sigmoid(), share_n * sum_n.sigmoid())

    def mine(self, positive: Side, negative: Side) -> tuple[Side, Side]:
        """Return what the mining keeps of each anchor: both sides, or neither."""
        s_p, s_n = positive.similarity.detach(), negative.similarity.detach()
        lowest, highest = positive.lowest(s_p), negative.highest(s_n)
        # Some negative is within reach of the lowest positive just where some positive is within reach of it.
        mined = highest > lowest - self.epsilon
        kept_p = positive.present & mined & (s_p < highest + self.epsilon)
        kept_n = negative.present & mined & (s_n > lowest - self.epsilon)
        return Side(positive.similarity, kept_p), Side(negative.similarity, kept_n)


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

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        logit_p = self.alpha * (self.lam - positive.similarity)
        logit_n = self.beta * (negative.similarity - self.lam)
        value = (
            positive.total(log1p_exp(logit_p)) / positive.count + negative.total(log1p_exp(logit_n)) / negative.count
        )
        w_p = positive.keep(logit_p.sigmoid()) * (self.alpha / positive.count)
        return PairWeights(value, w_p, negative.keep(logit_n.sigmoid()) * (self.beta / negative.count))
