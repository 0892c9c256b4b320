"""Softmax losses over proxies: normalised softmax, its variants with a margin (CosFace, ArcFace, SphereFace), and
sub-centre ArcFace.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side, Source
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.ntxent import against_negatives, inverse_sine, sine
from pairlens.losses.tuning_space import SCALE, Range

ARC_SPACE = {"scale": SCALE, "margin": Range(0.05, 0.6)}


@dataclass(frozen=True)
class NormSoftmax(AnchorLoss):
    """Normalised softmax: cross entropy of a softmax over the cosine similarities to all proxies.

    L = mean over anchors of -log( e^{s_y/σ} / Σ_z e^{s_z/σ} ).

    Pair weights: w_p = (1 - P_y)/σ, w_n = P_z/σ.

    Source: Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019, arXiv 1811.12649,
    equation 2, σ = 0.05. pytorch-metric-learning's value is the same.

    Attributes:
        temperature: σ, in units of similarity.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> NormSoftmax()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {"temperature": Range(0.02, 0.3, log=True)}
    temperature: float = 0.05

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf,
            f"the temperature {self.temperature} of normalised softmax is a scale; use a value above 0",
        )

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        s_p = positive.similarity
        return _cross_entropy(positive, negative, s_p, torch.ones_like(s_p), 1 / self.temperature)


@dataclass(frozen=True)
class CosFace(AnchorLoss):
    """CosFace (additive margin softmax): the proxy of the own class must be the most similar by a margin of similarity.

    L = mean over anchors of -log( e^{γ (s_y - m)} / (e^{γ (s_y - m)} + Σ_{z ≠ y} e^{γ s_z}) ).

    Pair weights: w_p = γ (1 - P_y), w_n = γ P_z.

    Source: Wang et al., "CosFace", CVPR 2018, arXiv 1801.09414, equation 4, γ = 64, m = 0.35; also Wang et al.,
    AM-Softmax, 2018. pytorch-metric-learning's value is the same.

    Attributes:
        scale: γ, the inverse of a temperature.
        margin: m, in units of similarity.

    >>> similarity = torch.tensor([[0.85, 0.5]])
    >>> CosFace()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = ARC_SPACE
    scale: float = 64.0
    margin: float = 0.35

    def __post_init__(self) -> None:
        _require_scale(self.scale, "CosFace")
        require(-2 <= self.margin <= 2, f"the margin {self.margin} of CosFace is a similarity; use -2 to 2")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        target = positive.similarity - self.margin
        return _cross_entropy(positive, negative, target, torch.ones_like(target), self.scale)


@dataclass(frozen=True)
class ArcFace(AnchorLoss):
    """ArcFace: the proxy of the own class must be the most similar by a margin of angle.

    L = mean over anchors of -log( e^{γ cos(θ_y + m)} / (e^{γ cos(θ_y + m)} + Σ_{z ≠ y} e^{γ s_z}) ).
    Beyond θ_y + m = π the cosine would rise again; there cos θ_y - m sin m replaces it.

    Pair weights: w_p = γ (1 - P_y) sin(θ_y + m) / sin θ_y, w_n = γ P_z.

    Source: Deng et al., "ArcFace", CVPR 2019, arXiv 1801.07698, equation 3, γ = 64, m = 0.5; the replacement
    beyond π is that of its official code and of pytorch-metric-learning. cos(θ + m) is computed as
    s cos m - √(1 - s²) sin m, without an arc cosine, so value and gradient are finite at s = ±1, where other code gives
    NaN.

    Attributes:
        scale: γ, the inverse of a temperature.
        margin: m, in radians.

    >>> similarity = torch.tensor([[1.0, 0.0]])
    >>> ArcFace(scale=1.0, margin=math.pi / 2)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = ARC_SPACE
    scale: float = 64.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        _require_scale(self.scale, "ArcFace")
        require(0 <= self.margin <= math.pi, f"the margin {self.margin} of ArcFace is an angle; use 0 to π radians")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        s = positive.similarity
        cos = math.cos(self.margin)
        sin = math.sin(self.margin)
        below_pi = s.detach() > -cos  # θ + m < π
        target = torch.where(below_pi, s * cos - sine(s) * sin, s - self.margin * sin)
        slope = torch.where(below_pi, cos + sin * s * inverse_sine(s), 1.0)  # d(target)/ds
        return _cross_entropy(positive, negative, target, slope, self.scale)


@dataclass(frozen=True)
class SphereFace(AnchorLoss):
    """SphereFace (A-Softmax): the angle to the proxy of the own class is multiplied.

    L = mean over anchors of -log( e^{γ ψ(θ_y)} / (e^{γ ψ(θ_y)} + Σ_{z ≠ y} e^{γ s_z}) ), ψ(θ) = (-1)^k cos(m θ) - 2 k
    for θ in [k π/m, (k + 1) π/m].

    Pair weights: w_p = γ (1 - P_y) (-1)^k m sin(m θ_y) / sin θ_y, w_n = γ P_z.

    Source: Liu et al., "SphereFace", CVPR 2017, arXiv 1704.08063, equation 7, m = 4. In the paper γ is the
    length of the embedding; embeddings have length 1 here, so γ is a setting. pytorch-metric-learning multiplies the
    length by a scale.

    Attributes:
        scale: γ, the inverse of a temperature.
        margin: m, the integer factor of the angle.

    >>> similarity = torch.tensor([[1.0, 0.0]])  # ψ(0) = 1
    >>> SphereFace(scale=1.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3133)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {"scale": SCALE}
    scale: float = 64.0
    margin: int = 4

    def __post_init__(self) -> None:
        _require_scale(self.scale, "SphereFace")
        require(self.margin >= 1, f"the margin {self.margin} of SphereFace is a factor of the angle; use 1 or more")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        # atan2 and not acos, whose gradient is infinite at s = ±1.
        theta = torch.atan2(sine(positive.similarity), positive.similarity)
        # k is the number of the interval of θ. With it, ψ falls from 1 to 1 - 2 m without a jump.
        k = (theta.detach() * (self.margin / math.pi)).floor().clamp(max=self.margin - 1)
        sign = 1 - 2 * (k % 2)
        target = sign * (self.margin * theta).cos() - 2 * k
        slope = sign * self.margin * (self.margin * theta).sin() * inverse_sine(positive.similarity)
        return _cross_entropy(positive, negative, target, slope, self.scale)


@dataclass(frozen=True)
class SubCenterArcFace:
    """Sub-centre ArcFace: ArcFace with several centres per class, of which only the nearest one counts.

    L = ArcFace of S_c = max_k s_ck.

    Weights: those of ArcFace, on the nearest centre of each class.

    Source: Deng et al., "Sub-center ArcFace", ECCV 2020, equation 3: K = 3, γ = 64, m = 0.5 as in
    pytorch-metric-learning, whose value is the same.

    Attributes:
        centers: K, centres per class.
        scale: γ, the inverse of a temperature.
        margin: m, in radians.

    >>> import torch
    >>> similarity = torch.tensor([[0.3, 0.5, 0.5, 0.1]])  # two classes of two centres
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    >>> SubCenterArcFace(centers=2, margin=0.0)(similarity, pairs)  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = ARC_SPACE
    centers: int = 3
    scale: float = 64.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        require(self.centers >= 1, f"centers {self.centers} of sub-centre ArcFace must be at least 1")
        ArcFace(self.scale, self.margin)

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, class · centre) cosine similarities, class by class."""
        similarity = as_similarity(similarity, pairs)
        # (anchor, class · centre) to (anchor, class): the gradient reaches only the nearest centre.
        nearest = similarity.unflatten(1, (-1, self.centers)).max(dim=2).values
        # All centres of a class have the same mask, so every K-th column is the mask of the classes.
        by_class = Pairs(pairs.positive[:, :: self.centers], pairs.negative[:, :: self.centers])
        return ArcFace(self.scale, self.margin)(nearest, by_class)


def _cross_entropy(positive: Side, negative: Side, target: Tensor, slope: Tensor, scale: float) -> PairWeights:
    """Return the cross entropy with `target` in place of the similarity to the own proxy; `slope` is its derivative."""
    value, by_logit_p, by_logit_n = against_negatives(positive, negative, scale * target, scale)
    # Chain rule: the logit of the own proxy is scale · target(s).
    return PairWeights(value, scale * by_logit_p * slope, scale * by_logit_n)


def _require_scale(scale: float, name: str) -> None:
    require(0 < scale < math.inf, f"the scale {scale} of {name} is the inverse of a temperature; use a value above 0")
