"""Proxy-NCA and Proxy-NCA++ losses."""

import math
from dataclasses import dataclass
from typing import ClassVar

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side, Source
from pairlens.losses.ntxent import NTXent
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class ProxyNCA(AnchorLoss):
    """Proxy-NCA: pulls a photo to the proxy of its class and pushes it from the other proxies, the nearest most.

    L = mean over anchors of d²(x, p_y) + log Σ_{z ≠ y} e^{-d²(x, p_z)}, photo and proxies of length σ: d² = σ² (2 - 2
    s). The proxy of the photo's own class is not in the sum, so the loss can be negative and never stops pulling.

    Pair weights: w_p = 2 σ², w_n = 2 σ² softmax_{z ≠ y}(2 σ² s).

    Source: Movshovitz-Attias et al., "No Fuss Distance Metric Learning using Proxies", ICCV 2017, arXiv 1703.07464,
    equation 6; σ = 3 is the scale of the port dichotomies/proxy-nca for CUB and Cars, which,
    like pytorch-metric-learning, includes the own class's proxy in the sum: that is `ProxyNCAPlus`.

    Attributes:
        scale: σ, the length of photos and proxies.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[1.0, 0.0]])
    >>> ProxyNCA(scale=1.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(-2.)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {"scale": Range(1, 32, log=True)}
    scale: float = 3.0

    def __post_init__(self) -> None:
        require(0 < self.scale < math.inf, f"the scale {self.scale} of Proxy-NCA is a length; use a value above 0")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        slope = 2 * self.scale**2  # -dd²/ds
        log_sum, softmax = negative.logsumexp(slope * (negative.similarity - 1))
        # With one proxy per class an anchor has one positive, and the count is 1.
        pull = positive.masked(slope / positive.count)
        value = log_sum + (pull * (1 - positive.similarity)).sum(dim=1, keepdim=True)
        return PairWeights(value, pull, slope * softmax)


@dataclass(frozen=True)
class ProxyNCAPlus(AnchorLoss):
    """Proxy-NCA++: cross entropy of a sharp softmax over the squared distances to all proxies.

    L = mean over anchors of -log( e^{-d²(x, p_y)/T} / Σ_z e^{-d²(x, p_z)/T} )  with  d² = 2 - 2 s: a softmax over 2 s
    / T.

    Pair weights: w_p = (2/T)(1 - P_y), w_n = (2/T) P_z.

    Source: Teh, DeVries, Taylor, "ProxyNCA++", ECCV 2020, arXiv 2004.01113, equation 5, T = 1/9. Part of its gain
    comes from global max pooling, layer norm and a high learning rate of the proxies: the recipe `proxy_nca_plus_cub`.

    Attributes:
        temperature: T, in units of squared distance.

    >>> import torch
    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> ProxyNCAPlus()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {"temperature": Range(0.03, 0.5, log=True)}
    temperature: float = 1 / 9

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf,
            f"the temperature {self.temperature} of Proxy-NCA++ must be above 0; 1/9 is that of the paper",
        )

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        # d² = 2 - 2 s, so a softmax over -d²/T is one over 2 s/T; with one positive that is NT-Xent.
        return NTXent(self.temperature / 2).weigh(positive, negative)
