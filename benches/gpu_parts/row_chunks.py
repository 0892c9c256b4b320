"""A loss over the pairs of a batch in chunks of anchors, in plain PyTorch: what can be had without a kernel of our own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.core.similarity import unit
from pairlens.losses.base import AnchorLoss, Side


@dataclass(frozen=True)
class RowChunks:
    """A loss of (photo, dim) embeddings and (photo,) labels that holds the similarities of some anchors at a time.

    The pair weights are the gradient, so one pass gives the value and the gradient, and nothing is computed again.

    Attributes:
        loss: its settings; a mean over anchors that all count once.
        anchors: how many anchors a chunk has.
    """

    loss: AnchorLoss
    anchors: int = 1024

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the photos that have a positive and a negative."""
        return _Chunked.apply(unit(embeddings), labels, self.loss, self.anchors)  # pyright: ignore[reportReturnType]


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, units: Tensor, labels: Tensor, loss: AnchorLoss, anchors: int) -> Tensor:
        gradient = torch.zeros_like(units)
        value, count = units.new_zeros(()), units.new_zeros(())
        for start in range(0, len(units), anchors):
            rows = slice(start, start + anchors)
            losses, by_similarity, complete = _weigh_rows(loss, units, labels, rows)
            value += losses.sum()
            count += complete.sum()
            # With G = dL/dS of these rows: the anchors get G E, the references Gᵀ of the anchors.
            gradient[rows].addmm_(by_similarity, units)
            gradient.addmm_(by_similarity.T, units[rows])
        share = 1 / count.clamp(min=1)
        ctx.save_for_backward(gradient.mul_(share))
        return value * share

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.saved_tensors[0] * gradients[0], None, None, None


def _weigh_rows(loss: AnchorLoss, units: Tensor, labels: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (anchor, 1) losses, (anchor, photo) dL/ds and (anchor, 1) whether the anchor counts, of some rows."""
    similarity = units[rows] @ units.T
    positive = labels[rows, None] == labels[None, :]
    negative = ~positive
    positive[:, rows].fill_diagonal_(False)
    weights = loss.weigh(Side(similarity, positive), Side(similarity, negative))
    complete = (positive.any(dim=1, keepdim=True) & negative.any(dim=1, keepdim=True)).to(units.dtype)
    # Of an anchor without pairs of both kinds the value is undefined.
    return weights.value.masked_fill(complete == 0, 0.0), (weights.negative - weights.positive) * complete, complete
