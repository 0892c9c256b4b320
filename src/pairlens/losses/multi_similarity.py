"""Multi-similarity loss and binomial deviance."""

import math
from dataclasses import dataclass
from typing import ClassVar

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side, none_active, zero_weights
from pairlens.losses.reductions import log1p_exp
from pairlens.losses.tuning_space import Range

BINOMIAL_SPACE = {"alpha": Range(0.5, 20, log=True), "beta": Range(10, 100, log=True), "lam": Range(0.2, 0.8)}


@dataclass(frozen=True)
class MultiSimilarity(AnchorLoss):
    """Multi-similarity loss: a pair is selected by the other side of its anchor, and weighted within its own side.

    Mining keeps a negative if s_n > min_p s_p - ε and a positive if s_p < max_n s_n + ε. Over what is kept,
    L = mean over anchors of (1/α) log(1 + Σ_p e^{-α (s_p - λ)}) + (1/β) log(1 + Σ_n e^{β (s_n - λ)}),
    where an anchor counts as 0 if the mining leaves one of its sides empty.

    Pair weights: w_p = e^{-α (s_p - λ)} / (1 + Σ_p e^{-α (s_p - λ)}), w_n = e^{β (s_n - λ)} / (1 + Σ_n e^{β (s_n -
    λ)}).

    Source: Wang et al., "Multi-Similarity Loss with General Pair Weighting", CVPR 2019, arXiv 1904.06627, equations 13
    to 16. The paper has β = 50, its official code 40; α = 2, λ = 0.5, ε = 0.1 are the code's. That code takes every
    pair with s > 1 - 1e-5 for a photo with itself, and so drops duplicates; here only the photo itself is left out, by
    index. It divides by the batch size; here by the number of anchors that have a positive and a negative before mining.
    pytorch-metric-learning's loss mines only together with its miner.

    Attributes:
        alpha: α, the scale of positives.
        beta: β, the scale of negatives.
        lam: λ, the similarity that divides positives from negatives.
        epsilon: ε, the tolerance of the mining, in units of similarity.
        mining: whether pairs are selected by the rule above, or all pairs count.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    >>> MultiSimilarity(alpha=1, beta=1)(similarity, pairs)  # 2 log 2
    tensor(1.3863)
    """

    space: ClassVar[dict[str, Range]] = BINOMIAL_SPACE
    alpha: float = 2.0
    beta: float = 40.0
    lam: float = 0.5
    epsilon: float = 0.1
    mining: bool = True

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of multi-similarity is a scale; use a value above 0")
        require(-1 <= self.lam <= 1, f"lam {self.lam} of multi-similarity is a similarity; use -1 to 1")
        require(0 <= self.epsilon <= 2, f"epsilon {self.epsilon} of multi-similarity must be 0 to 2")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        counted = self.mine(positive, negative) if self.mining else (positive, negative)
        if counted is None:
            return zero_weights(positive, negative)
        counted_p, counted_n = counted
        sum_p, softmax_p = counted_p.logsumexp(-self.alpha * (positive.similarity - self.lam))
        sum_n, softmax_n = counted_n.logsumexp(self.beta * (negative.similarity - self.lam))
        value = log1p_exp(sum_p) / self.alpha + log1p_exp(sum_n) / self.beta
        # e^x / (1 + Σ e) = softmax · sigmoid(log Σ e), in which nothing overflows.
        return PairWeights(value, softmax_p * sum_p.sigmoid(), softmax_n * sum_n.sigmoid())

    def mine(self, positive: Side, negative: Side) -> tuple[Side, Side] | None:
        """Return the pairs that the mining selects: of each anchor some of both sides, or none of either.

        None means that it is known to select nothing at all.
        """
        # Detached: the selection is no part of the gradient.
        s_p = positive.similarity.detach()
        s_n = negative.similarity.detach()
        lowest = positive.lowest(s_p)  # (anchor, 1)
        highest = negative.highest(s_n)
        # Both rules select something under the same condition: max s_n > min s_p - ε.
        mined = highest > lowest - self.epsilon
        if none_active(mined):
            return None
        mined_p = positive.present & mined & (s_p < highest + self.epsilon)
        mined_n = negative.present & mined & (s_n > lowest - self.epsilon)
        return Side(positive.similarity, mined_p), Side(negative.similarity, mined_n)


@dataclass(frozen=True)
class BinomialDeviance(AnchorLoss):
    """Binomial deviance: a logistic loss of every pair, independent of the other pairs.

    L = mean over anchors of mean_p log(1 + e^{α (λ - s_p)}) + mean_n log(1 + e^{β (s_n - λ)}).

    Pair weights: w_p = α/|P| sigmoid(α (λ - s_p)), w_n = β/|N| sigmoid(β (s_n - λ)).

    Source: Yi, Lei, Li, "Deep Metric Learning for Practical Person Re-Identification", 2014, arXiv 1407.4979. The
    scales α = 2, β = 40 and λ = 0.5 are those of the code bnu-wangxun/Deep_Metric. pytorch-metric-learning does not
    have this loss.

    Attributes:
        alpha: α, the scale of positives.
        beta: β, the scale of negatives.
        lam: λ, the similarity that divides positives from negatives.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.5, 0.5]])
    >>> BinomialDeviance()(similarity, Pairs(similarity == 2, similarity == 2))
    tensor(0.)
    >>> BinomialDeviance()(similarity[:, 1:], Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # 2 log 2
    tensor(1.3863)
    """

    space: ClassVar[dict[str, Range]] = BINOMIAL_SPACE
    alpha: float = 2.0
    beta: float = 40.0
    lam: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of binomial deviance is a scale; use a value above 0")
        require(-1 <= self.lam <= 1, f"lam {self.lam} of binomial deviance is a similarity; use -1 to 1")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        logit_p = self.alpha * (self.lam - positive.similarity)
        logit_n = self.beta * (negative.similarity - self.lam)
        mean_p = positive.total(log1p_exp(logit_p)) / positive.count
        mean_n = negative.total(log1p_exp(logit_n)) / negative.count
        w_p = positive.masked(logit_p.sigmoid()) * (self.alpha / positive.count)
        w_n = negative.masked(logit_n.sigmoid()) * (self.beta / negative.count)
        return PairWeights(mean_p + mean_n, w_p, w_n)
