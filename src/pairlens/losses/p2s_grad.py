"""P2SGrad: squared error of the similarities to proxies."""

from dataclasses import dataclass
from typing import ClassVar

from pairlens.losses.base import AnchorLoss, PairWeights, Side, Source


@dataclass(frozen=True)
class P2SGrad(AnchorLoss):
    """P2SGrad: the similarity to the own proxy should be 1 and that to every other proxy 0.

    L = mean over anchors of ½ (1 - s_y)² + ½ Σ_{z ≠ y} s_z².

    Pair weights: w_p = 1 - s_y and w_n = s_z, which is below 0 for a proxy at more than a right angle: it is pulled in.

    Source: Zhang et al., "P2SGrad: Refined Gradients for Optimizing Deep Face Models", CVPR 2019, arXiv 1905.02479. The
    paper gives no loss but the gradient, equation 11, whose integral this is; it has no hyper-parameter.
    pytorch-metric-learning takes the mean of the squares over all proxies, 2/C times this for C classes.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.0, 0.5]])
    >>> P2SGrad()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # (1 + 0.25) / 2
    tensor(0.6250)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        pull = positive.masked(1 - positive.similarity)  # (anchor, slot)
        push = negative.masked(negative.similarity)
        value = ((pull * pull).sum(dim=1, keepdim=True) + (push * push).sum(dim=1, keepdim=True)) / 2
        return PairWeights(value, pull, push)
