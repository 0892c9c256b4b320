"""Proxy-NCA and Proxy-NCA++."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, Source, over_anchors
from pairlens.losses.ntxent import NTXent


@dataclass(frozen=True)
class ProxyNCA:
    """Proxy-NCA: the photo near the proxy of its class, far from the nearest of the others.

    L = mean over anchors of d²(x, p_y) + log Σ_{z ≠ y} e^{-d²(x, p_z)}, photo and proxies of length σ: d² = σ² (2 - 2
    s). The own proxy is not in the sum, so the loss goes below 0 and never stops pulling.

    Pair weights: w_p = 2 σ², w_n = 2 σ² softmax_{z ≠ y}(2 σ² s).

    Source: Movshovitz-Attias et al., "No Fuss Distance Metric Learning using Proxies", ICCV 2017, arXiv 1703.07464,
    equation 6; σ = 3 is the scale of the port dichotomies/proxy-nca for CUB and Cars, which, as
    pytorch-metric-learning, has the own proxy in the sum: that is `ProxyNCAPlus`.

    Attributes:
        scale: σ, the length of photos and proxies.

    >>> import torch
    >>> similarity = torch.tensor([[1.0, 0.0]])
    >>> ProxyNCA(scale=1.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(-2.)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    scale: float = 3.0

    def __post_init__(self) -> None:
        require(0 < self.scale < math.inf, f"the scale {self.scale} of Proxy-NCA must be above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        slope = 2 * self.scale**2
        log_sum, share = negative.logsumexp(slope * (negative.similarity - 1))
        pull = positive.keep(slope / positive.count)
        return PairWeights(log_sum + (pull * (1 - positive.similarity)).sum(dim=1, keepdim=True), pull, slope * share)


@dataclass(frozen=True)
class ProxyNCAPlus:
    """Proxy-NCA++: the probability of the own proxy in a sharp softmax over squared distances.

    L = mean over anchors of -log( e^{-d²(x, p_y)/T} / Σ_z e^{-d²(x, p_z)/T} )  with  d² = 2 - 2 s: a softmax over 2 s
    / T.

    Pair weights: w_p = (2/T)(1 - P_y), w_n = (2/T) P_z.

    Source: Teh, DeVries, Taylor, "ProxyNCA++", ECCV 2020, arXiv 2004.01113, equation 5, T = 1/9. Its gain also comes
    from global max pooling, layer norm and a fast rate of the proxies: the recipe `proxy_nca_plus_cub`.

    Attributes:
        temperature: T.

    >>> import torch
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> ProxyNCAPlus()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    temperature: float = 1 / 9

    def __post_init__(self) -> None:
        require(0 < self.temperature < math.inf, f"the temperature {self.temperature} of Proxy-NCA++ must be above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        return NTXent(self.temperature / 2).weigh(positive, negative)
