"""Smooth average precision: the Smooth-AP loss, and SupAP, the upper bound of ROADMAP."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.losses.averaging import LATER
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.smooth_rank import Cost, SmoothStep, sigmoid_step, sum_over_ranks, weights_are_gradient, with_query
from pairlens.losses.tuning_space import Range

# Where the line of SupAP beyond δ has the value o: at x = 0 or at x = δ.
LineStart: TypeAlias = Literal["zero", "delta"]
RANK_SPACE = {"temperature": Range(0.003, 0.1, log=True)}


@dataclass(frozen=True)
class SmoothAP(AnchorLoss):
    """Smooth-AP: one minus average precision, with a sigmoid in place of every comparison.

    L = mean over anchors of 1 - (1/|P|) Σ_p R⁺_p / R_p, R_p = 1 + Σ_{j ≠ p} σ((s_j - s_p)/t) over all references and
    R⁺_p over the positives.

    Pair weights: w_n = (1/|P|) Σ_p R⁺_p / R_p² σ'_np / t. The gradient of an anchor sums to 0, because only differences of
    similarities count.

    Source: Brown et al., "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval", ECCV 2020, arXiv
    2007.12163, equations 4 to 7, t = 0.01. The official code counts the query as one of its own positives, at rank
    1, which raises the AP; that is `count_query`, off by default. pytorch-metric-learning does not have this loss.

    Attributes:
        temperature: t, in units of similarity.
        count_query: whether the query counts as one of its positives, as in the official code.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])  # a tie counts half: rank 1.5
    >>> SmoothAP()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3333)
    """

    space: ClassVar[dict[str, Range]] = RANK_SPACE
    temperature: float = 0.01
    count_query: bool = False

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf,
            f"the temperature {self.temperature} of Smooth-AP is a scale; use a value above 0",
        )

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        step = sigmoid_step(self.temperature)
        ranked = with_query(positive) if self.count_query else positive
        value, w_p, w_n, _ = _average_precision_loss(ranked, negative, step, step)
        # The query's own slot, the last one, has no pair and so no weight.
        return PairWeights(value, w_p[:, : positive.similarity.shape[1]], w_n)


@dataclass(frozen=True)
class SupAP(AnchorLoss):
    """SupAP: an upper bound of one minus average precision, whose gradient does not vanish for negatives far above.

    L = mean over anchors of 1 - (1/|P|) Σ_p R⁺_p / (R⁺_p + R⁻_p), R⁺_p = 1 + the positives above p counted exactly
    (constant in the gradient), R⁻_p = Σ_n H⁻(s_n - s_p) with
    H⁻(x) = σ(x/t) for x ≤ 0, ½ + σ(x/t) for 0 < x ≤ δ, and beyond δ a line of slope ρ: ρ x + o if `line_from` is "zero",
    ρ (x - δ) + o if it is "delta". H⁻ is nowhere below the exact comparison 1[x ≥ 0] that it replaces, except at a tie,
    x = 0.

    Pair weights: w_n = (1/|P|) Σ_p R⁺_p / R_p² H⁻'(s_n - s_p); w_p, for each p, the same summed over n.

    Source: Ramzi et al., "Robust and Decomposable Average Precision for Image Retrieval" (ROADMAP), NeurIPS 2021, arXiv
    2110.01445, section 3.1; t = 0.01, ρ = 100, o = 1.44 and δ = 0.05 are those of the official code
    (elias-ramzi/ROADMAP). The line ρ x + o is that of its first commit, with which H⁻ jumps from 1.49 to 6.44 at δ;
    ρ (x - δ) + o is that of its present state, with which H⁻ is nearly continuous. ROADMAP adds a contrastive calibration
    term, a second loss, which is not included. Its code counts the query as a positive, as Smooth-AP's does; here it does
    not count.

    Attributes:
        temperature: t, in units of similarity.
        rho: ρ, the slope beyond δ.
        offset: o, the value of that line at 0 or, with `line_from` "delta", at δ.
        delta: δ, in units of similarity.
        line_from: "zero" as in the first commit of the official code, or "delta" as in its present state.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> SupAP()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.3333)
    """

    space: ClassVar[dict[str, Range]] = RANK_SPACE
    temperature: float = 0.01
    rho: float = 100.0
    offset: float = 1.44
    delta: float = 0.05
    line_from: LineStart = field(default="zero", metadata=LATER)

    def __post_init__(self) -> None:
        require(
            0 < self.temperature < math.inf,
            f"the temperature {self.temperature} of SupAP is a scale; use a value above 0",
        )
        for name in ("rho", "offset", "delta"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of SupAP must not be negative; use 0 or more")
        known = get_args(LineStart)
        require(self.line_from in known, f"line_from {self.line_from!r} of SupAP is unknown; use {' or '.join(known)}")

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        return _average_precision_loss(positive, negative, _exact_step, self._bound)

    def _bound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return H⁻(x) and its derivative."""
        sigmoid, slope = sigmoid_step(self.temperature)(x)
        near = torch.where(x > 0, sigmoid + 0.5, sigmoid)
        far = x > self.delta
        line = self.rho * (x - self.delta if self.line_from == "delta" else x) + self.offset
        return torch.where(far, line, near), torch.where(far, self.rho, slope)


def _exact_step(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact comparison 1[x ≥ 0], which is constant in the gradient."""
    return (x.detach() >= 0).to(x.dtype), torch.zeros_like(x)


def _average_precision_loss(positive: Side, negative: Side, step_p: SmoothStep, step_n: SmoothStep) -> PairWeights:
    """Return 1 - mean_p R⁺_p / R_p and its pair weights."""
    share = 1 / positive.count  # (anchor, 1)

    def price(above_p: Tensor, above_n: Tensor) -> Cost:
        rank_p = 1 + above_p  # R⁺, (anchor, slot)
        rank = rank_p + above_n  # R
        precision = share * rank_p / rank
        by_negatives = precision / rank
        # A positive above p raises both R⁺ and R.
        return Cost(-precision, by_negatives - share / rank, by_negatives)

    cost, w_p, w_n = sum_over_ranks(positive, negative, step_p, step_n, price)
    return PairWeights(1 + cost, w_p, w_n)
