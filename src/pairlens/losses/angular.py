"""Angular loss."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import cosine, without_autocast
from pairlens.core.tracing import is_readable
from pairlens.losses.averaging import LATER, Average, check_average
from pairlens.losses.base import Source, check_finite, row_blocks
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.positive_columns import positive_columns
from pairlens.losses.reductions import log1p_exp, mean_over
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class Angular:
    """Angular loss: bounds the angle at the negative of the triangle that it forms with a positive pair.

    L = mean over anchors of mean_p log(1 + Σ_n e^{f_apn}),  f_apn = 4 tan²α (x_a + x_p) · x_n - 2 (1 + tan²α) x_a ·
    x_p.

    Pair weights, with q_n = e^{f_apn} / (1 + Σ e^f): 2 (1 + tan²α) Σ_n q_n on (a, p), 4 tan²α q_n on (a, n) and on (p,
    n).

    Source: Wang et al., "Deep Metric Learning with Angular Loss", ICCV 2017, arXiv 1708.01682, equation 8; the paper
    tries 36 to 55 degrees and sums over the negatives of an N-pair batch. e^f is the product of a factor of (a, n) and
    one of (p, n), so no (a, p, n) tensor is needed. pytorch-metric-learning uses 40 degrees by default and averages
    over the positive pairs of the batch, as `average="pair"` does.

    Attributes:
        degrees: α, at most 65, up to which the exponentials stay within float32.
        average: "anchor", or "pair" for the mean over the positive pairs of the batch: large classes count more.

    >>> similarity = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> Angular()(similarity, Pairs.within(torch.tensor([0, 0, 1])))  # log(1 + e^-2)
    tensor(0.1269)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    space: ClassVar[dict[str, Range]] = {"degrees": Range(30, 50)}
    degrees: float = 45.0
    average: Average = field(default="anchor", metadata=LATER)

    def __post_init__(self) -> None:
        check_average(self.average, "angular loss")
        require(
            0 < self.degrees <= 65,
            f"degrees {self.degrees} of angular loss is an angle; use a value above 0 and up to 65",
        )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, photo) cosine similarities of one batch."""
        similarity = as_similarity(similarity, pairs)
        eager = is_readable(similarity)
        if eager:
            check_finite(similarity)
        columns = positive_columns(pairs) if eager else None
        tan2 = math.tan(math.radians(self.degrees)) ** 2
        # sums[a, slot] = Σ_n e^{4 tan²α (s_an + s_pn)}, divided by e^{8 tan²α}, for the positive p in the slot.
        # Autocast would compute these products in half precision, which rounds small ones to 0.
        if columns is None:
            factors = _factors(similarity, pairs.negative, 4 * tan2)
            sums = cosine(factors, factors)
            s_p = similarity
            taken = pairs.positive
        else:
            with without_autocast(similarity.device):
                sums = _SumsOver.apply(similarity, pairs.negative, columns.column, 4 * tan2)
            s_p = similarity.gather(1, columns.column)
            taken = columns.taken
        # After a miner the anchor and its positive may have no negative in common. Then there is no triangle, so no loss.
        counted = taken & pairs.complete[:, None] & (sums > 0)
        f = torch.where(counted, sums, 1.0).log() + 8 * tan2 - 2 * (1 + tan2) * s_p
        losses = torch.where(counted, log1p_exp(f), 0.0)  # (anchor, slot)
        if self.average == "pair":
            return mean_over(losses, counted)
        return mean_over(losses.sum(dim=1) / counted.sum(dim=1).clamp(min=1), pairs.complete)


def _factors(similarity: Tensor, negative: Tensor, scale: float) -> Tensor:
    # Divided by e^scale, so that no factor exceeds 1; the caller adds it back in the logarithm, once per factor.
    return torch.where(negative, (scale * (similarity - 1)).exp(), 0.0)


class _SumsOver(torch.autograd.Function):
    """sums[a, slot] = Σ_n x[a, n] x[column[a, slot], n] of the factors x: only the products of rows that are needed."""

    @staticmethod
    def forward(ctx: Any, similarity: Tensor, negative: Tensor, column: Tensor, scale: float) -> Tensor:
        rows = _factors(similarity, negative, scale)  # (photo, photo)
        ctx.save_for_backward(similarity, negative, rows, column)
        ctx.scale = scale
        sums = rows.new_empty(column.shape)
        for block in row_blocks(rows):
            # One slot at a time: partner is (photo of the block,), the positive of each photo in this slot.
            for slot, partner in enumerate(column[block].T):
                sums[block, slot] = torch.linalg.vecdot(rows[block], rows[partner])
        return sums

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None]:
        similarity, negative, rows, column = ctx.saved_tensors
        if torch.is_grad_enabled():
            # This gradient will be differentiated: the same as below, in operations that autograd can follow.
            rows = _factors(similarity, negative, ctx.scale)
            weights = torch.zeros_like(rows).scatter_add(1, column, gradients[0])  # (photo, photo)
            return cosine(weights + weights.T, rows.T) * rows * ctx.scale, None, None, None
        total = torch.zeros_like(rows)  # the gradient by the factors
        for block in row_blocks(rows):
            for partner, weight in zip(column[block].T, gradients[0][block].T, strict=True):
                # A product of two rows sends gradient to both; several photos may share a partner.
                total[block].addcmul_(rows[partner], weight[:, None])
                total.index_add_(0, partner, rows[block] * weight[:, None])
        # A factor is an exponential, so its own derivative is itself times the scale.
        return total.mul_(rows).mul_(ctx.scale), None, None, None
