"""Angular loss."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import working_precision
from pairlens.losses.frame import Source, blocks, check_finite, positive_places, runs_eagerly
from pairlens.losses.masked import log1p_exp, mean_over, require


@dataclass(frozen=True)
class Angular:
    """Angular loss: the angle at the negative of a triangle with the positive pair is kept below a bound.

    L = mean over anchors of mean_p log(1 + Σ_n e^{f_apn}),  f_apn = 4 tan²α (x_a + x_p) · x_n - 2 (1 + tan²α) x_a ·
    x_p.

    Pair weights, with q_n = e^{f_apn} / (1 + Σ e^f): 2 (1 + tan²α) Σ_n q_n on (a, p), 4 tan²α q_n on (a, n) and on (p,
    n).

    Source: Wang et al., "Deep Metric Learning with Angular Loss", ICCV 2017, arXiv 1708.01682, equation 8; the paper
    tries 36 to 55 degrees and sums over the negatives of an N-pair batch. e^f is a product of a factor of (a, n) and
    one of (p, n), so no (a, p, n) tensor is needed. pytorch-metric-learning has 40 degrees as its default and averages
    over all positive pairs at once.

    Attributes:
        degrees: α, up to 65, where the exponentials are still within float32.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> Angular()(similarity, Pairs.within(torch.tensor([0, 0, 1])))  # log(1 + e^-2)
    tensor(0.1269)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    degrees: float = 45.0

    def __post_init__(self) -> None:
        require(0 < self.degrees <= 65, f"degrees {self.degrees} of angular loss is an angle; give above 0 to 65")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, photo) cosine similarities of one batch."""
        similarity = working_precision(similarity)
        eager = runs_eagerly(similarity)
        if eager:
            check_finite(similarity)
        places = positive_places(pairs) if eager else None
        tan2 = math.tan(math.radians(self.degrees)) ** 2
        # Autocast would take the products in half precision, which rounds small ones to 0.
        with torch.autocast(similarity.device.type, enabled=False):
            if places is None:
                factors = _factors(similarity, pairs.negative, 4 * tan2)
                sums, s_p, taken = factors @ factors.T, similarity, pairs.positive
            else:
                sums = _SumsOver.apply(similarity, pairs.negative, places.column, 4 * tan2)
                s_p, taken = similarity.gather(1, places.column), places.taken
        # After a miner the anchor and its positive may have no negative in common: no triangle, no loss.
        taken = taken & pairs.complete[:, None] & (sums > 0)
        f = torch.where(taken, sums, 1.0).log() + 8 * tan2 - 2 * (1 + tan2) * s_p
        losses = torch.where(taken, log1p_exp(f), 0.0)
        return mean_over(losses.sum(dim=1) / taken.sum(dim=1).clamp(min=1), pairs.complete)


def _factors(similarity: Tensor, negative: Tensor, scale: float) -> Tensor:
    # Divided by e^scale, so that a factor is at most 1; what is divided out returns in the logarithm.
    return torch.where(negative, (scale * (similarity - 1)).exp(), 0.0)


class _SumsOver(torch.autograd.Function):
    """sums[a, k] = Σ_n x[a, n] x[column[a, k], n], x the factors: of all products of two rows, only those asked for."""

    @staticmethod
    def forward(ctx: Any, similarity: Tensor, negative: Tensor, column: Tensor, scale: float) -> Tensor:
        rows = _factors(similarity, negative, scale)
        ctx.save_for_backward(rows, column)
        ctx.scale = scale
        sums = rows.new_empty(column.shape)
        for block in blocks(rows):
            for place, partner in enumerate(column[block].T):
                sums[block, place] = torch.linalg.vecdot(rows[block], rows[partner])
        return sums

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None]:
        rows, column = ctx.saved_tensors
        total = torch.zeros_like(rows)
        for block in blocks(rows):
            for partner, weight in zip(column[block].T, gradients[0][block].T, strict=True):
                total[block].addcmul_(rows[partner], weight[:, None])
                total.index_add_(0, partner, rows[block] * weight[:, None])
        return total.mul_(rows).mul_(ctx.scale), None, None, None
