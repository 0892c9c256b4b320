"""Contrastive losses: pull positives together, push negatives a margin apart, every pair independent of the others."""

from dataclasses import dataclass
from typing import ClassVar

from pairlens.core.records import require
from pairlens.core.similarity import distance, reciprocal
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class Contrastive(AnchorLoss):
    """Contrastive loss on Euclidean distances.

    L = mean over anchors of Σ_p ½ d_p² + Σ_n ½ [m - d_n]₊²  with  d = √(2 - 2 s).

    Pair weights: w_p = 1, w_n = (m - d)/d where d < m.

    Source: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, equation 4;
    m = 1 on unit vectors. The paper sums over all pairs; here the sum is over the pairs of an anchor, and the mean over
    anchors makes the loss independent of the batch size. pytorch-metric-learning takes d and m - d instead of their
    squares, and averages positives and negatives separately, so neither margins nor learning rates carry over.

    Attributes:
        margin: m, in units of distance.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, -1.0], [0.5, -1.0, 1.0]])
    >>> Contrastive()(similarity, Pairs.within(torch.tensor([0, 0, 1])))  # d_p = 1, d_n = 1 and 2
    tensor(0.5000)
    """

    space: ClassVar[dict[str, Range]] = {"margin": Range(0.3, 1.3)}
    margin: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.margin <= 2, f"the margin {self.margin} of contrastive loss is a distance; use 0 to 2")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        d_n = distance(negative.similarity)
        inside = negative.masked((self.margin - d_n).relu())  # (anchor, slot) how far within the margin
        # ½ d² = 1 - s for unit vectors, which needs no square root.
        value = positive.total(1 - positive.similarity) + (inside**2).sum(dim=1, keepdim=True) / 2
        return PairWeights(value, positive.indicator, inside * reciprocal(d_n))


@dataclass(frozen=True)
class SimilarityContrastive(AnchorLoss):
    """Contrastive loss on similarities.

    L = mean over anchors of Σ_p (1 - s_p) + Σ_n [s_n - m]₊.

    Pair weights: w_p = 1, w_n = 1 where s_n > m.

    Source: the form used by cross-batch memory (Wang et al., CVPR 2020, arXiv 1912.06798) and by the code
    bnu-wangxun/Deep_Metric; m = 0.5. Both sum over pairs and divide by the batch size. The official code of cross-batch
    memory adds s_n for each active negative where this adds s_n - m: the gradient is the same, the value is not.

    Attributes:
        margin: m, in units of similarity.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.5, 0.75]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))
    >>> SimilarityContrastive()(similarity, pairs)
    tensor(0.7500)
    """

    space: ClassVar[dict[str, Range]] = {"margin": Range(0.1, 0.7)}
    margin: float = 0.5

    def __post_init__(self) -> None:
        require(-1 <= self.margin <= 1, f"the margin {self.margin} is a similarity; use -1 to 1")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        above = negative.masked((negative.similarity - self.margin).relu())  # (anchor, slot), 0 for inactive negatives
        value = positive.total(1 - positive.similarity) + above.sum(dim=1, keepdim=True)
        return PairWeights(value, positive.indicator, above.sign())
