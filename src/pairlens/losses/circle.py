"""Circle loss, per anchor as in the paper, and pooled over the batch."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import SOURCES, AnchorLoss, PairWeights, Side, Source, WeighPairs, anchor_losses
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT, log1p_exp
from pairlens.losses.tuning_space import Range

CIRCLE_SPACE = {"margin": Range(0.1, 0.5), "gamma": Range(16, 256, log=True)}


@dataclass(frozen=True)
class Circle(AnchorLoss):
    """Circle loss: every similarity is weighted by its distance from its own optimum.

    L = mean over anchors of log( 1 + Σ_n exp(γ α_n (s_n - m)) · Σ_p exp(-γ α_p (s_p - (1 - m))) )
    with α_p = [1 + m - s_p]₊ and α_n = [s_n + m]₊ held constant in the gradient.

    The decision boundary is the circle s_n² + (1 - s_p)² = 2 m². On `InBatch` references this is the pair-level form; on
    `Proxies` (one positive proxy per anchor) the class-level form, for which the paper uses m = 0.25, γ = 256.
    Pair weights, with Z = 1 - e^{-L} of the anchor: w_p = Z softmax_p(-γ α_p (s_p - (1 - m))) γ α_p and
    w_n = Z softmax_n(γ α_n (s_n - m)) γ α_n.

    Source: Sun et al., "Circle Loss", CVPR 2020, arXiv 2002.10857, equations 4 to 6; m = 0.4, γ = 80 are its
    fine-grained retrieval setting. There is no official code. The sum is over the pairs of one anchor, as the paper
    defines it for a single sample; some ports pool all pairs of the batch into one logarithm, which is another loss:
    `PooledCircle`. The mean is over the anchors with a positive and a negative (pytorch-metric-learning also leaves out
    those whose loss is exactly 0).

    Attributes:
        margin: m, the relaxation, in units of similarity.
        gamma: γ, the scale.

    >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    >>> Circle()(similarity, Pairs.within(torch.tensor([0, 0, 1]))).item() < 1e-5
    True
    """

    space: ClassVar[dict[str, Range]] = CIRCLE_SPACE
    margin: float = 0.4
    gamma: float = 80.0

    def __post_init__(self) -> None:
        require(-1 <= self.margin <= 1, f"the margin {self.margin} of circle loss is a similarity; use -1 to 1")
        require(0 < self.gamma < math.inf, f"the gamma {self.gamma} of circle loss is a scale; use a value above 0")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        sum_p, pull = self.pull(positive)
        sum_n, push = self.push(negative)
        # The product of the two sums is a sum of logarithms, (anchor, 1), so nothing overflows.
        violation = sum_p + sum_n
        z = violation.sigmoid()
        return PairWeights(log1p_exp(violation), z * pull, z * push)

    def pull(self, positive: Side) -> tuple[Tensor, Tensor]:
        """Return (anchor, 1) log Σ_p exp(-γ α_p (s_p - (1 - m))), and minus its (anchor, slot) derivative."""
        # Detached, because the paper holds α constant: otherwise the weight of a pair is another function.
        alpha = (1 + self.margin - positive.similarity.detach()).relu()
        log_sum, softmax = positive.logsumexp(-self.gamma * alpha * (positive.similarity - (1 - self.margin)))
        return log_sum, softmax * alpha * self.gamma

    def push(self, negative: Side) -> tuple[Tensor, Tensor]:
        """Return (anchor, 1) log Σ_n exp(γ α_n (s_n - m)), and its (anchor, slot) derivative."""
        alpha = (negative.similarity.detach() + self.margin).relu()
        log_sum, softmax = negative.logsumexp(self.gamma * alpha * (negative.similarity - self.margin))
        return log_sum, softmax * alpha * self.gamma


@dataclass(frozen=True)
class PooledCircle:
    """Circle loss with all pairs of the batch in one logarithm: any positive pair competes with any negative pair.

    L = log( 1 + Σ_a Σ_n exp(γ α_n (s_an - m)) · Σ_a Σ_p exp(-γ α_p (s_ap - (1 - m))) ), α as in `Circle`.

    Pair weights: as those of `Circle`, with the softmax over all pairs of the batch and Z = 1 - e^{-L}. A few pairs of
    the batch get nearly all the weight, so the gradient differs from that of `Circle`.

    Source: how widely used ports of circle loss (TinyZeaMays/CircleLoss) read Sun et al., CVPR 2020, arXiv 2002.10857;
    they count each pair of photos once, here it counts for both its anchors. Only anchors with both sides count.

    Attributes:
        margin: m, the relaxation, in units of similarity.
        gamma: γ, the scale.

    >>> similarity = torch.tensor([[0.6, 0.4]])  # both at their margins
    >>> PooledCircle()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES
    space: ClassVar[dict[str, Range]] = CIRCLE_SPACE
    margin: float = 0.4
    gamma: float = 80.0

    def __post_init__(self) -> None:
        Circle(self.margin, self.gamma)  # checks both settings

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        sum_p = self._log_sum_of_batch(self._weigh_positives, similarity, pairs)
        sum_n = self._log_sum_of_batch(self._weigh_negatives, similarity, pairs)
        return log1p_exp(sum_p + sum_n)

    def _log_sum_of_batch(self, weigh: WeighPairs, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the log-sum over the anchors, (), of their own log-sums."""
        return anchor_losses(weigh, similarity, pairs).masked_fill(~pairs.complete, ABSENT).logsumexp(dim=0)

    # The two log-sums are pooled over the batch separately, so each is a loss of its own whose other side has no weight.
    def _weigh_positives(self, positive: Side, negative: Side) -> PairWeights:
        log_sum, pull = Circle(self.margin, self.gamma).pull(positive)
        return PairWeights(log_sum, pull, torch.zeros_like(negative.similarity))

    def _weigh_negatives(self, positive: Side, negative: Side) -> PairWeights:
        log_sum, push = Circle(self.margin, self.gamma).push(negative)
        return PairWeights(log_sum, torch.zeros_like(positive.similarity), push)
