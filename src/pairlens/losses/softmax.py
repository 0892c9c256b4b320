"""Softmax losses over proxies: normalised softmax, its margins CosFace, ArcFace and SphereFace, and sub-centre ArcFace."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, Source, over_anchors
from pairlens.losses.ntxent import against_negatives, sine


@dataclass(frozen=True)
class NormSoftmax:
    """Normalised softmax: cross entropy of the cosines to the proxies, over a temperature.

    L = mean over anchors of -log( e^{s_y/σ} / Σ_z e^{s_z/σ} ).

    Pair weights: w_p = (1 - P_y)/σ, w_n = P_z/σ.

    Source: Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019, arXiv 1811.12649,
    equation 2, σ = 0.05. pytorch-metric-learning's value is the same.

    Attributes:
        temperature: σ.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> NormSoftmax()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    temperature: float = 0.05

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf, f"the temperature {self.temperature} of normalised softmax must be above 0"
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        return _softmax(
            positive, negative, positive.similarity, torch.ones_like(positive.similarity), 1 / self.temperature
        )


@dataclass(frozen=True)
class CosFace:
    """CosFace (additive margin softmax): the own proxy must win by a margin of similarity.

    L = mean over anchors of -log( e^{γ (s_y - m)} / (e^{γ (s_y - m)} + Σ_{z ≠ y} e^{γ s_z}) ).

    Pair weights: w_p = γ (1 - P_y), w_n = γ P_z.

    Source: Wang et al., "CosFace", CVPR 2018, arXiv 1801.09414, equation 4, γ = 64, m = 0.35; also Wang et al.,
    AM-Softmax, 2018. pytorch-metric-learning's value is the same.

    Attributes:
        scale: γ.
        margin: m, in units of similarity.

    >>> similarity = torch.tensor([[0.85, 0.5]])
    >>> CosFace()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    scale: float = 64.0
    margin: float = 0.35

    def __post_init__(self) -> None:
        _require_scale(self.scale, "CosFace")
        require(-2 <= self.margin <= 2, f"the margin {self.margin} of CosFace is a similarity; give -2 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        target = positive.similarity - self.margin
        return _softmax(positive, negative, target, torch.ones_like(target), self.scale)


@dataclass(frozen=True)
class ArcFace:
    """ArcFace: the own proxy must win by a margin of angle.

    L = mean over anchors of -log( e^{γ cos(θ_y + m)} / (e^{γ cos(θ_y + m)} + Σ_{z ≠ y} e^{γ s_z}) ).
    Beyond θ_y + m = π, where the cosine would rise again, cos θ - m sin m takes its place.

    Pair weights: w_p = γ (1 - P_y) sin(θ_y + m) / sin θ_y, w_n = γ P_z.

    Source: Deng et al., "ArcFace", CVPR 2019, arXiv 1801.07698, equation 3, γ = 64, m = 0.5; the straight end is that
    of its official code and of pytorch-metric-learning. cos(θ + m) is s cos m - √(1 - s²) sin m here, without an arc
    cosine: at s = ±1, where other code gives NaN, value and gradient are finite.

    Attributes:
        scale: γ.
        margin: m, in radians.

    >>> similarity = torch.tensor([[1.0, 0.0]])
    >>> ArcFace(scale=1.0, margin=math.pi / 2)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    scale: float = 64.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        _require_scale(self.scale, "ArcFace")
        require(0 <= self.margin <= math.pi, f"the margin {self.margin} of ArcFace is an angle; give 0 to π radians")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        s, cos, sin = positive.similarity, math.cos(self.margin), math.sin(self.margin)
        bent = s.detach() > -cos  # θ + m < π
        target = torch.where(bent, s * cos - sine(s) * sin, s - self.margin * sin)
        slope = torch.where(bent, cos + sin * s * inverse_sine(s), 1.0)
        return _softmax(positive, negative, target, slope, self.scale)


@dataclass(frozen=True)
class SphereFace:
    """SphereFace (A-Softmax): the angle to the own proxy counts several times.

    L = mean over anchors of -log( e^{γ ψ(θ_y)} / (e^{γ ψ(θ_y)} + Σ_{z ≠ y} e^{γ s_z}) ), ψ(θ) = (-1)^k cos(m θ) - 2 k
    for θ in [k π/m, (k + 1) π/m].

    Pair weights: w_p = γ (1 - P_y) (-1)^k m sin(m θ_y) / sin θ_y, w_n = γ P_z.

    Source: Liu et al., "SphereFace", CVPR 2017, arXiv 1704.08063, equation 7, m = 4. The paper has the length of the
    embedding in the place of γ; embeddings have length 1 here, so it is a number. pytorch-metric-learning multiplies
    the length and a scale.

    Attributes:
        scale: γ.
        margin: m, how often the angle counts.

    >>> similarity = torch.tensor([[1.0, 0.0]])  # ψ(0) = 1
    >>> SphereFace(scale=1.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3133)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    scale: float = 64.0
    margin: int = 4

    def __post_init__(self) -> None:
        _require_scale(self.scale, "SphereFace")
        require(self.margin >= 1, f"the margin {self.margin} of SphereFace is a number of times; give at least 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, proxy) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        theta = torch.atan2(sine(positive.similarity), positive.similarity)
        k = (theta.detach() * (self.margin / math.pi)).floor().clamp(max=self.margin - 1)
        sign = 1 - 2 * (k % 2)
        target = sign * (self.margin * theta).cos() - 2 * k
        slope = sign * self.margin * (self.margin * theta).sin() * inverse_sine(positive.similarity)
        return _softmax(positive, negative, target, slope, self.scale)


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


def _softmax(positive: Side, negative: Side, target: Tensor, slope: Tensor, scale: float) -> PairWeights:
    """Return the cross entropy with `target` in the place of the own similarity, and `slope` its derivative."""
    value, push, share = against_negatives(positive, negative, scale * target, scale)
    return PairWeights(value, scale * push * slope, scale * share)


def inverse_sine(cosine: Tensor) -> Tensor:
    """Return 1 / sin θ, and 0 where sin θ is 0."""
    value = sine(cosine)
    return torch.where(value > 0, 1 / torch.where(value > 0, value, 1.0), 0.0)


def _require_scale(scale: float, name: str) -> None:
    require(0 < scale < math.inf, f"the scale {scale} of {name} must be above 0")
