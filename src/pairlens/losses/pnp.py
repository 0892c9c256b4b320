"""PNP: penalty on the negatives that rank before positives."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.smooth_ap import RANK_SPACE
from pairlens.losses.smooth_rank import Cost, sigmoid_step, sum_over_ranks, weights_are_gradient, with_query
from pairlens.losses.tuning_space import Range

# The names of the paper: O original, I increasing gradient (unbounded, bounded), D decreasing gradient (slow, quick).
Variant: TypeAlias = Literal["O", "Iu", "Ib", "Ds", "Dq"]


@dataclass(frozen=True)
class PNP(AnchorLoss):
    """PNP: each positive pays for the negatives that rank before it, and not for its place among the positives.

    L = mean over anchors of (1/|P|) Σ_p f(N_p), N_p = Σ_n σ((s_n - s_p)/t) the smooth number of negatives before p, with
    f(N) = N in variant O, (1 + N) log(1 + N) in Iu, (b N - log(1 + b N)) / b² in Ib, log(1 + N) in Ds and
    1 - (1 + N)^{-α} in Dq.

    Pair weights: w_n = (1/|P|) Σ_p f'(N_p) σ'_np / t; the gradient of an anchor sums to 0. Where f' falls with N, as in
    Ds and Dq, a positive that many negatives precede, which often has a wrong label, is left alone.

    Source: Li et al., "Rethinking the Optimization of Average Precision: Only Penalizing Negative Instances before
    Positive Ones is Enough", AAAI 2022, arXiv 2102.04640, and its code (interestingzhuo/PNPloss): t = 0.01, and Dq with
    α = 4 in its best run. Its code and pytorch-metric-learning count the query as one of its own positives; that is
    `count_query`, off by default. pytorch-metric-learning has variant O by default.

    Attributes:
        variant: which f, by its name in the paper.
        alpha: α of Dq.
        b: b of Ib.
        temperature: t, in units of similarity.
        count_query: whether the query counts as one of its positives, as in the official code.

    >>> from pairlens.core.pairs import Pairs
    >>> similarity = torch.tensor([[0.5, 0.5]])  # a tie counts half
    >>> PNP("O")(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor(0.5000)
    """

    space: ClassVar[dict[str, Range]] = RANK_SPACE
    variant: Variant = "Dq"
    alpha: float = 4.0
    b: float = 2.0
    temperature: float = 0.01
    count_query: bool = False

    def __post_init__(self) -> None:
        known = get_args(Variant)
        require(self.variant in known, f"the variant {self.variant!r} of PNP is unknown; use {', '.join(known)}")
        for name in ("alpha", "b", "temperature"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of PNP must be above 0; use a positive number")

    @weights_are_gradient
    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        ranked = with_query(positive) if self.count_query else positive
        share = 1 / ranked.count  # (anchor, 1)

        def price(above_p: Tensor, above_n: Tensor) -> Cost:
            cost, slope = self._penalty(above_n)
            return Cost(share * cost, torch.zeros_like(above_p), share * slope)

        value, w_p, w_n = sum_over_ranks(ranked, negative, _no_step, sigmoid_step(self.temperature), price)
        # The query's own slot, the last one, has no pair and so no weight.
        return PairWeights(value, w_p[:, : positive.similarity.shape[1]], w_n)

    def _penalty(self, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and f' of the smooth numbers of negatives before each positive, both (anchor, slot)."""
        match self.variant:
            case "O":
                return before, torch.ones_like(before)
            case "Iu":
                log = before.log1p()
                return (1 + before) * log, 1 + log
            case "Ib":
                scaled = self.b * before
                return (scaled - scaled.log1p()) / self.b**2, before / (1 + scaled)
            case "Ds":
                return before.log1p(), 1 / (1 + before)
            case "Dq":
                return 1 - (1 + before) ** -self.alpha, self.alpha * (1 + before) ** (-self.alpha - 1)


def _no_step(x: Tensor) -> tuple[Tensor, Tensor]:
    """Count no other positive as above: PNP does not look at the order of the positives."""
    return torch.zeros_like(x), torch.zeros_like(x)
