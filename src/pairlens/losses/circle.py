"""Circle loss."""

import math
from dataclasses import dataclass

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.frame import Side, Weighed, over_anchors
from pairlens.losses.masked import log1p_exp, require


@dataclass(frozen=True)
class Circle:
    """Circle loss: every similarity is weighted by its own distance from its optimum.

    L = mean over anchors of log( 1 + Σ_n exp(γ α_n (s_n - m)) · Σ_p exp(-γ α_p (s_p - (1 - m))) )
    with α_p = [1 + m - s_p]₊ and α_n = [s_n + m]₊ held constant in the gradient.

    The decision boundary is the circle s_n² + (1 - s_p)² = 2 m². On `Batch` references this is the pair-level form; on
    `Proxies` (one positive proxy an anchor) the class-level form, for which the paper uses m = 0.25, γ = 256.
    Pair weights, with Z = 1 - e^{-L} of the anchor: w_p = Z softmax_p(-γ α_p (s_p - (1 - m))) γ α_p and
    w_n = Z softmax_n(γ α_n (s_n - m)) γ α_n.

    Source: Sun et al., "Circle Loss", CVPR 2020, arXiv 2002.10857, equations 4 to 6; m = 0.4, γ = 80 are its fine-grained
    retrieval setting. There is no official code. The sum is over the pairs of one anchor, as the paper defines it for a
    single sample; some ports pool all pairs of the batch into one logarithm, which is another loss: `PooledCircle`. The
    mean is over the anchors with a positive and a negative (pytorch-metric-learning leaves out those whose loss is
    exactly 0 as well).

    Attributes:
        margin: m, the relaxation, in units of similarity.
        gamma: γ, the scale.

    >>> import torch
    >>> similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    >>> Circle()(similarity, Pairs.within(torch.tensor([0, 0, 1]))).item() < 1e-5
    True
    """

    margin: float = 0.4
    gamma: float = 80.0

    def __post_init__(self) -> None:
        require(-1 <= self.margin <= 1, f"the margin {self.margin} of circle loss is a similarity; give -1 to 1")
        require(0 < self.gamma < math.inf, f"the gamma {self.gamma} of circle loss is a scale; give it above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> Weighed:
        """Return the loss and the pair weights of each anchor."""
        alpha_p = (1 + self.margin - positive.similarity.detach()).relu()
        alpha_n = (negative.similarity.detach() + self.margin).relu()
        sum_p, share_p = positive.logsumexp(-self.gamma * alpha_p * (positive.similarity - (1 - self.margin)))
        sum_n, share_n = negative.logsumexp(self.gamma * alpha_n * (negative.similarity - self.margin))
        z = (sum_p + sum_n).sigmoid() * self.gamma
        return Weighed(log1p_exp(sum_p + sum_n), z * share_p * alpha_p, z * share_n * alpha_n)
