"""Softmax losses over the pairs of an anchor: NT-Xent, supervised contrastive and tuplet margin."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.losses.averaging import LATER, Average, check_average
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.reductions import ABSENT, log1p_exp
from pairlens.losses.tuning_space import SCALE, Range

TEMPERATURE_SPACE = {"temperature": Range(0.02, 0.5, log=True)}


@dataclass(frozen=True)
class NTXent(AnchorLoss):
    """NT-Xent (InfoNCE): a softmax of each positive against all negatives of its anchor.

    L = mean over anchors of mean_p -log( e^{s_p/t} / (e^{s_p/t} + Σ_n e^{s_n/t}) ) = mean_p log(1 + Σ_n e^{(s_n -
    s_p)/t}).

    Pair weights, with r_p = sigmoid(log Σ_n e^{s_n/t} - s_p/t): w_p = r_p / (t |P|), w_n = softmax_n(s/t) Σ_p r_p / (t
    |P|).

    Source: Sohn, NIPS 2016 (N-pair form); van den Oord et al., 2018, arXiv 1807.03748; Chen et al., "SimCLR", ICML
    2020, arXiv 2002.05709, equation 1, where every anchor has one positive. With several, the other positives are not
    in the denominator, as in pytorch-metric-learning, which averages over the positive pairs of the batch and builds a
    (positive pair, negative pair) matrix; `average="pair"` is that average.

    Attributes:
        temperature: t, in units of similarity.
        average: "anchor", or "pair" for the mean over the positive pairs of the batch: large classes count more.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> NTXent()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    space: ClassVar[dict[str, Range]] = TEMPERATURE_SPACE
    temperature: float = 0.07
    average: Average = field(default="anchor", metadata=LATER)

    def __post_init__(self) -> None:
        _require_temperature(self.temperature, "NT-Xent")
        check_average(self.average, "NT-Xent")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        logit_p = positive.similarity / self.temperature
        value, w_p, w_n = against_negatives(positive, negative, logit_p, 1 / self.temperature)
        times = positive.count if self.average == "pair" else None
        # Derivatives by logits become derivatives by similarities.
        return PairWeights(value, w_p / self.temperature, w_n / self.temperature, times)


@dataclass(frozen=True)
class TupletMargin(AnchorLoss):
    """Tuplet margin loss: NT-Xent with a slack angle, by which each positive is first turned towards its anchor.

    L = mean over anchors of mean_p log(1 + Σ_n e^{γ (cos θ_n - cos(θ_p - β))}).

    Pair weights, with r_p = sigmoid(log Σ_n e^{γ s_n} - γ cos(θ_p - β)): w_n = γ softmax_n(γ s) mean_p r_p, and
    w_p = γ r_p / |P| · (cos β - s_p sin β / sin θ_p), which is below 0 for a positive nearer than β: it is pushed out to β.

    Source: Yu and Tao, "Deep Metric Learning with Tuplet Margin Loss", ICCV 2019; γ = 64 and β = 5.73 degrees are the
    defaults of pytorch-metric-learning, whose gradient is not finite at s_p = 1; here the second term of the weight is 0
    where sin θ_p = 0. It averages over the positive pairs of the batch, as `average="pair"` does.

    Attributes:
        degrees: β, the slack, in degrees.
        scale: γ, the inverse of a temperature.
        average: "anchor", or "pair" for the mean over the positive pairs of the batch: large classes count more.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> TupletMargin(degrees=0.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    space: ClassVar[dict[str, Range]] = {"degrees": Range(1, 12), "scale": SCALE}
    degrees: float = 5.73
    scale: float = 64.0
    average: Average = field(default="anchor", metadata=LATER)

    def __post_init__(self) -> None:
        check_average(self.average, "tuplet margin loss")
        require(0 <= self.degrees <= 90, f"degrees {self.degrees} of tuplet margin loss is an angle; use 0 to 90")
        require(
            0 < self.scale < math.inf,
            f"the scale {self.scale} of tuplet margin loss is the inverse of a temperature; use a value above 0",
        )

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        cos = math.cos(math.radians(self.degrees))
        sin = math.sin(math.radians(self.degrees))
        s_p = positive.similarity
        # cos(θ - β) = cos θ cos β + sin θ sin β needs no arc cosine, whose gradient is infinite at s = ±1.
        turned = s_p * cos + sine(s_p) * sin
        value, by_logit_p, by_logit_n = against_negatives(positive, negative, self.scale * turned, self.scale)
        slope = cos - sin * s_p * inverse_sine(s_p)  # d(turned)/ds_p
        times = positive.count if self.average == "pair" else None
        return PairWeights(value, self.scale * by_logit_p * slope, self.scale * by_logit_n, times)


@dataclass(frozen=True)
class SupCon(AnchorLoss):
    """Supervised contrastive loss, L_out: a softmax of each positive against all other photos.

    L = mean over anchors of mean_p -log( e^{s_p/t} / Σ_{a ≠ i} e^{s_a/t} ).

    Pair weights, with P the softmax over all others: w_p = (1/|P| - P_p) / t, w_n = P_n / t. A positive whose
    probability exceeds 1/|P| is pushed away (w_p < 0).

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362, equation 2, t = 0.1. The
    official code has t = 0.07 and multiplies by t / 0.07, which is 1 there; here and in pytorch-metric-learning that
    factor is left out.

    Attributes:
        temperature: t, in units of similarity.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> SupCon()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    space: ClassVar[dict[str, Range]] = TEMPERATURE_SPACE
    temperature: float = 0.1

    def __post_init__(self) -> None:
        _require_temperature(self.temperature, "SupCon")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        logit_p = positive.similarity / self.temperature
        sum_p, softmax_p = positive.logsumexp(logit_p)
        sum_n, softmax_n = negative.logsumexp(negative.similarity / self.temperature)
        # Σ over all others splits into the two sides: log(e^{sum_p} + e^{sum_n}) = sum_p + log(1 + e^{gap}), and the
        # probability mass of the negatives is sigmoid(gap).
        gap = sum_n - sum_p
        mean_p = positive.total(logit_p) / positive.count
        value = sum_p + log1p_exp(gap) - mean_p
        w_p = positive.masked(1 / positive.count) - softmax_p * (-gap).sigmoid()
        w_n = softmax_n * gap.sigmoid()
        return PairWeights(value, w_p / self.temperature, w_n / self.temperature)


def against_negatives(positive: Side, negative: Side, logit_p: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean_p log(1 + Σ_n e^{scale s_n - logit_p}), and its derivatives by -logit_p and by scale s_n.

    Args:
        positive: the positives of each anchor.
        negative: its negatives.
        logit_p: (anchor, slot) logit of each positive.
        scale: factor from similarity to logit of the negatives.

    Returns:
        (anchor, 1) value, (anchor, slot) weights of the positives and (anchor, slot) weights of the negatives.
    """
    # A product with 1 takes as long as any other.
    sum_n, softmax_n = negative.logsumexp(negative.similarity if scale == 1 else scale * negative.similarity)
    gap = positive.present_or(sum_n - logit_p, ABSENT)
    by_logit_p = gap.sigmoid() / positive.count
    # Each positive pushes on all negatives; the pushes differ by a factor only, so their sum is one (anchor, 1) number.
    by_logit_n = softmax_n * by_logit_p.sum(dim=1, keepdim=True)
    return positive.total(log1p_exp(gap)) / positive.count, by_logit_p, by_logit_n


def sine(cosine: Tensor) -> Tensor:
    """Return sin θ = √(1 - cos² θ), with gradient 0 where it is 0."""
    squared = 1 - cosine**2
    positive = squared > 0
    # The root of 0 has an infinite gradient; the root of 1, times 0, has none.
    return torch.where(positive, squared, 1.0).sqrt() * positive


def inverse_sine(cosine: Tensor) -> Tensor:
    """Return 1 / sin θ, and 0 where sin θ is 0."""
    value = sine(cosine)
    return torch.where(value > 0, 1 / torch.where(value > 0, value, 1.0), 0.0)


def _require_temperature(temperature: float, name: str) -> None:
    require(
        0 < temperature < math.inf,
        f"the temperature {temperature} of {name} is a scale of similarities; use a value above 0",
    )
