"""Average precision, made smooth: Smooth-AP, and the upper bound of ROADMAP."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.base import PairWeights, Side, over_anchors
from pairlens.losses.smooth_rank import Cost, SmoothStep, over_ranks, sigmoid_step, weights_are_gradient, with_query


@dataclass(frozen=True)
class SmoothAP:
    """Smooth-AP: one minus average precision, with a sigmoid in place of every comparison.

    L = mean over anchors of 1 - (1/|P|) Σ_p R⁺_p / R_p, R_p = 1 + Σ_{j ≠ p} σ((s_j - s_p)/t) over all references and
    R⁺_p over the positives.

    Pair weights: w_n = (1/|P|) Σ_p R⁺_p / R_p² σ'_np / t, and the weights of an anchor sum up to 0: only differences
    count.

    Source: Brown et al., "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval", ECCV 2020, arXiv
    2007.12163, equations 4 to 7, t = 0.01. The official code counts the query as a positive of its own at rank 1,
    which raises the AP; that is `count_query`, and exact is the default. pytorch-metric-learning does not have this
    loss.

    Attributes:
        temperature: t.
        count_query: whether the query counts as one of its positives, as in the official code.

    >>> similarity = torch.tensor([[0.5, 0.5]])  # half the negative is above: rank 1.5
    >>> SmoothAP()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3333)
    """

    temperature: float = 0.01
    count_query: bool = False

    def __post_init__(self) -> None:
        require(0 < self.temperature < math.inf, f"the temperature {self.temperature} of Smooth-AP must be above 0")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        step, width = sigmoid_step(self.temperature), positive.similarity.shape[1]
        positive = with_query(positive) if self.count_query else positive
        value, w_p, w_n = _average_precision_loss(positive, negative, step, step)
        return PairWeights(value, w_p[:, :width], w_n)


@dataclass(frozen=True)
class SupAP:
    """SupAP: an upper bound of one minus average precision, whose gradient does not vanish for negatives far above.

    L = mean over anchors of 1 - (1/|P|) Σ_p R⁺_p / (R⁺_p + R⁻_p), R⁺_p = 1 + the positives above p counted exactly
    (constant in the gradient), R⁻_p = Σ_n H⁻(s_n - s_p) with
    H⁻(x) = σ(x/t) for x ≤ 0, ½ + σ(x/t) for 0 < x ≤ δ, ρ x + o for x > δ: nowhere below the comparison it stands for,
    except in x = 0, a tie.

    Pair weights: w_n = (1/|P|) Σ_p R⁺_p / R_p² H⁻'(s_n - s_p); w_p, for each p, the same summed over n.

    Source: Ramzi et al., "Robust and Decomposable Average Precision for Image Retrieval" (ROADMAP), NeurIPS 2021, arXiv
    2110.01445, section 3.1; t = 0.01, ρ = 100, o = 1.44 and δ = 0.05 are of the official code, with which H⁻ jumps
    from 1.49 to 6.44 at δ. ROADMAP adds a contrastive calibration term, a second loss, which is not in here. The code
    counts the query as a positive as Smooth-AP's does; here it is left out.

    Attributes:
        temperature: t.
        rho: ρ, the slope beyond δ.
        offset: o.
        delta: δ, in units of similarity.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> SupAP()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3333)
    """

    temperature: float = 0.01
    rho: float = 100.0
    offset: float = 1.44
    delta: float = 0.05

    def __post_init__(self) -> None:
        require(0 < self.temperature < math.inf, f"the temperature {self.temperature} of SupAP must be above 0")
        for name in ("rho", "offset", "delta"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of SupAP must not be negative")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        return over_anchors(self.weigh, similarity, pairs)

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        return _average_precision_loss(positive, negative, _exact_step, self._bound)

    def _bound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = sigmoid_step(self.temperature)(x)
        value = torch.where(x > 0, value + 0.5, value)
        far = x > self.delta
        return torch.where(far, self.rho * x + self.offset, value), torch.where(far, self.rho, slope)


def _exact_step(x: Tensor) -> tuple[Tensor, Tensor]:
    return (x.detach() >= 0).to(x.dtype), torch.zeros_like(x)


def _average_precision_loss(positive: Side, negative: Side, step_p: SmoothStep, step_n: SmoothStep) -> PairWeights:
    """Return 1 - mean_p R⁺_p / R_p and its pair weights."""
    share = 1 / positive.count

    def price(above_p: Tensor, above_n: Tensor) -> Cost:
        rank_p, rank = 1 + above_p, 1 + above_p + above_n
        by_negatives = share * rank_p / rank**2
        return Cost(-share * rank_p / rank, by_negatives - share / rank, by_negatives)

    cost, w_p, w_n = over_ranks(positive, negative, step_p, step_n, price)
    return PairWeights(1 + cost, w_p, w_n)
