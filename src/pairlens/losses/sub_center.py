"""Sub-centre ArcFace."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.frame import Source
from pairlens.losses.softmax import ArcFace


@dataclass(frozen=True)
class SubCenterArcFace:
    """Sub-centre ArcFace: ArcFace in which a class has several centres, and a photo is compared with the nearest of
    each.

    L = ArcFace of S_c = max_k s_ck.

    Weights: those of ArcFace, on the nearest centre of each class.

    Source: Deng et al., "Sub-center ArcFace", ECCV 2020, equation 3: K = 3, γ = 64, m = 0.5 as in
    pytorch-metric-learning, whose value is the same.

    Attributes:
        centers: K, centres a class.
        scale: γ.
        margin: m, in radians.

    >>> import torch
    >>> similarity = torch.tensor([[0.3, 0.5, 0.5, 0.1]])  # two classes of two centres
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    >>> SubCenterArcFace(centers=2, margin=0.0)(similarity, pairs)  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    centers: int = 3
    scale: float = 64.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        require(self.centers >= 1, f"centers {self.centers} of sub-centre ArcFace must be at least 1")
        ArcFace(self.scale, self.margin)

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, class · centre) cosine similarities, class by class."""
        nearest = similarity.unflatten(1, (-1, self.centers)).max(dim=2).values
        first = Pairs(pairs.positive[:, :: self.centers], pairs.negative[:, :: self.centers])
        return ArcFace(self.scale, self.margin)(nearest, first)
