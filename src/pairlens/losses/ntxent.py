"""Softmax losses over the pairs of an anchor: NT-Xent, supervised contrastive, tuplet margin."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, over_anchors
from pairlens.losses.reductions import ABSENT, log1p_exp


@dataclass(frozen=True)
class NTXent:
    """NT-Xent (InfoNCE): each positive against all negatives of its anchor in a softmax.

    L = mean over anchors of mean_p -log( e^{s_p/t} / (e^{s_p/t} + Σ_n e^{s_n/t}) ) = mean_p log(1 + Σ_n e^{(s_n -
    s_p)/t}).

    Pair weights, with r_p = sigmoid(log Σ_n e^{s_n/t} - s_p/t): w_p = r_p / (t |P|), w_n = softmax_n(s/t) Σ_p r_p / (t
    |P|).

    Source: Sohn, NIPS 2016 (N-pair form); van den Oord et al., 2018, arXiv 1807.03748; Chen et al., "SimCLR", ICML
    2020, arXiv 2002.05709, equation 1, where every anchor has one positive. With several, the other positives are not
    in the denominator, as in pytorch-metric-learning, which averages over all positive pairs of the batch at once and
    builds a (positive pair, negative pair) matrix.

    Attributes:
        temperature: t.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> NTXent()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    temperature: float = 0.07

    def __post_init__(self) -> None:
        _require_temperature(self.temperature, "NT-Xent")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        value, push, share = against_negatives(
            positive, negative, positive.similarity / self.temperature, 1 / self.temperature
        )
        return PairWeights(value, push / self.temperature, share / self.temperature)


@dataclass(frozen=True)
class TupletMargin:
    """Tuplet margin loss: NT-Xent in which a positive is turned away from its anchor by an angle first.

    L = mean over anchors of mean_p log(1 + Σ_n e^{γ (cos θ_n - cos(θ_p - β))}).

    Pair weights, with r_p = sigmoid(log Σ_n e^{γ s_n} - γ cos(θ_p - β)): w_n = γ softmax_n(γ s) mean_p r_p, and
    w_p = γ r_p / |P| · (cos β - s_p sin β / sin θ_p), which is below 0 for a positive nearer than β: it is pushed to β.

    Source: Yu and Tao, "Deep Metric Learning with Tuplet Margin Loss", ICCV 2019; γ = 64 and β = 5.73 degrees are the
    defaults of pytorch-metric-learning, whose gradient is not finite at s_p = 1; here that positive has the weight of
    sin θ_p = 0 left out.

    Attributes:
        degrees: β, the slack, in degrees.
        scale: γ.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> TupletMargin(degrees=0.0)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    degrees: float = 5.73
    scale: float = 64.0

    def __post_init__(self) -> None:
        require(0 <= self.degrees <= 90, f"degrees {self.degrees} of tuplet margin loss is an angle; give 0 to 90")
        require(0 < self.scale < math.inf, f"the scale {self.scale} of tuplet margin loss must be above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        s = positive.similarity
        turned = s * cos + sine(s) * sin
        value, push, share = against_negatives(positive, negative, self.scale * turned, self.scale)
        tilt = cos - sin * s * torch.where(sine(s) > 0, 1 / sine(s).clamp(min=1e-12), 0.0)
        return PairWeights(value, self.scale * push * tilt, self.scale * share)


@dataclass(frozen=True)
class SupCon:
    """Supervised contrastive loss, L_out: each positive against all other photos in a softmax.

    L = mean over anchors of mean_p -log( e^{s_p/t} / Σ_{a ≠ i} e^{s_a/t} ).

    Pair weights, with P the softmax over all others: w_p = (1/|P| - P_p) / t, w_n = P_n / t. A positive that already
    has more than its share of the softmax is pushed away (w_p < 0).

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362, equation 2, t = 0.1. The
    official code has t = 0.07 and multiplies by t / 0.07, which is 1 there; pytorch-metric-learning leaves the factor
    out as well.

    Attributes:
        temperature: t.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> SupCon()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # log 2
    tensor(0.6931)
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        _require_temperature(self.temperature, "SupCon")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        logit_p = positive.similarity / self.temperature
        sum_p, share_p = positive.logsumexp(logit_p)
        sum_n, share_n = negative.logsumexp(negative.similarity / self.temperature)
        gap = sum_n - sum_p
        mean_p = positive.total(logit_p) / positive.count
        w_p = positive.keep(1 / positive.count) - share_p * (-gap).sigmoid()
        return PairWeights(
            sum_p + log1p_exp(gap) - mean_p, w_p / self.temperature, share_n * gap.sigmoid() / self.temperature
        )


def against_negatives(positive: Side, negative: Side, logit_p: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean_p log(1 + Σ_n e^{scale s_n - logit_p}), and its derivatives by -logit_p and by scale s_n."""
    sum_n, share_n = negative.logsumexp(scale * negative.similarity)
    gap = torch.where(positive.present, sum_n - logit_p, ABSENT)
    push = gap.sigmoid() / positive.count
    return positive.total(log1p_exp(gap)) / positive.count, push, share_n * push.sum(dim=1, keepdim=True)


def sine(cosine: Tensor) -> Tensor:
    """Return sin θ = √(1 - cos² θ), with gradient 0 where it is 0."""
    squared = 1 - cosine**2
    positive = squared > 0
    return torch.where(positive, squared, 1.0).sqrt() * positive


def _require_temperature(temperature: float, name: str) -> None:
    require(0 < temperature < math.inf, f"the temperature {temperature} of {name} must be above 0")
