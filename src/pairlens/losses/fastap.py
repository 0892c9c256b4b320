"""FastAP loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side


@dataclass(frozen=True)
class FastAP(AnchorLoss):
    """FastAP: average precision of an anchor, from its distances sorted into a few soft bins.

    L = mean over anchors of 1 - (1/|P|) Σ_k h⁺_k H⁺_k / H_k, with h⁺ and h the soft histograms of the squared distances
    d² = 2 - 2 s of the positives and of all references on b + 1 nodes from 0 to 4, H⁺ and H their running sums.

    Weights: linear between nodes. With g_k = dL/dh_k a pair between the nodes k and k + 1 has dL/dd² = (g_{k+1} - g_k)
    b/4.

    Source: Cakir et al., "Deep Metric Learning to Rank", CVPR 2019, equations 5 to 9; b = 10 bins is the default of
    its official code and of pytorch-metric-learning, which both have this value. pytorch-metric-learning has this gradient;
    the hand-written backward pass of the official code returns B/2 times it for B photos in a batch, so its learning rates
    do not carry over unless Adam or another optimizer that rescales gradients is used.

    Attributes:
        bins: b, at least 1.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.0]])
    >>> FastAP()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.)
    """

    bins: int = 10

    def __post_init__(self) -> None:
        require(self.bins >= 1, f"bins {self.bins} of FastAP must be at least 1")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        low_p, h_p = self._histogram(positive)
        low_n, h_n = self._histogram(negative)
        # (anchor, node) running sums: positives, and all references, up to and with this node.
        above = h_p.cumsum(dim=1)
        total = (h_p + h_n).cumsum(dim=1)
        # 1 / total, and 0 where no reference has come yet.
        some = (total > 0).to(h_p.dtype)
        inverse = some / torch.where(total > 0, total, 1.0)
        value = 1 - (h_p * above * inverse).sum(dim=1, keepdim=True) / positive.count
        # A unit of mass in node k raises the running sums of every node from k on: hence the sums to the end.
        g_n = _sum_from(h_p * above * inverse**2)
        g_p = g_n - above * inverse - _sum_from(h_p * inverse)
        width = self.bins / 2 / positive.count  # since d(position)/ds = -bins/2
        w_p = g_p.diff(dim=1).gather(1, low_p) * width
        w_n = g_n.diff(dim=1).gather(1, low_n) * width
        return PairWeights(value, positive.masked(w_p), negative.masked(-w_n))

    def _histogram(self, side: Side) -> tuple[Tensor, Tensor]:
        """Return the (anchor, slot) node below each pair and the (anchor, node) soft histogram."""
        position = (1 - side.similarity) * (self.bins / 2)  # d² in units of the bin width, 0 to bins
        floor = position.detach().floor().clamp(0, self.bins - 1)
        # A pair counts for the nodes below and above it, in proportion to its nearness.
        upper = side.masked(position - floor)
        lower = side.masked(1.0 + floor - position)
        counts = upper.new_zeros(len(upper), self.bins + 1)
        low = floor.long()
        return low, counts.scatter_add(1, low, lower).scatter_add(1, low + 1, upper)


def _sum_from(values: Tensor) -> Tensor:
    """Return the sum of each row from each column to the end."""
    return values.flip(1).cumsum(dim=1).flip(1)
