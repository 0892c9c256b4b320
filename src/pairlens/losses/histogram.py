"""Histogram loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.tracing import is_readable, is_traced
from pairlens.losses.base import SOURCES, Source, check_finite, row_blocks
from pairlens.losses.loss_inputs import as_similarity


@dataclass(frozen=True)
class Histogram:
    """Histogram loss: the probability that a random negative pair is more similar than a random positive pair.

    L = Σ_r h⁻_r Σ_{q ≤ r} h⁺_q, with h⁺ and h⁻ the soft histograms of the similarities of all positive and all
    negative pairs of the batch. A similarity between two nodes t_r of a grid on [-1, 1] counts for both nodes, in
    proportion to its nearness.

    Pair weights, with r the node below s, Δ the step, Φ⁺_r = Σ_{q ≤ r} h⁺_q and Φ⁻_r = Σ_{q ≥ r} h⁻_q:
    w_p = (Φ⁻_r - Φ⁻_{r+1}) / (Δ |P|) = h⁻_r / (Δ |P|), w_n = (Φ⁺_{r+1} - Φ⁺_r) / (Δ |N|) = h⁺_{r+1} / (Δ |N|).

    Source: Ustinova and Lempitsky, "Learning Deep Embeddings with Histogram Loss", NIPS 2016, arXiv 1611.00822,
    equations 1 to 5; its grid has 151 nodes (it reports the same results for steps of 0.01 to 0.02). A batch without a
    positive or a negative pair has loss 0.

    Attributes:
        nodes: R, at least 2.

    >>> similarity = torch.tensor([[0.5, 0.5]])
    >>> Histogram(nodes=5)(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))  # both on one node
    tensor(1.)
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES
    nodes: int = 151

    def __post_init__(self) -> None:
        require(self.nodes >= 2, f"nodes {self.nodes} of histogram loss must be at least 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        if is_readable(similarity):
            check_finite(similarity)
        complete = pairs.complete[:, None]  # (anchor, 1): an anchor with only one side counts for neither histogram
        h_p = _histogram(similarity, pairs.positive & complete, self.nodes)
        h_n = _histogram(similarity, pairs.negative & complete, self.nodes)
        # (node,) probability that a positive pair is at most as similar as this node.
        below = (h_p / h_p.sum().clamp(min=1)).cumsum(dim=0)
        return (h_n / h_n.sum().clamp(min=1) * below).sum()


def _histogram(similarity: Tensor, mask: Tensor, nodes: int) -> Tensor:
    """Return the (node,) soft histogram of the masked (anchor, reference) similarities."""
    # The compiler cannot trace through the loop over blocks; autograd differentiates the plain form.
    if is_traced():
        low, fraction = _position(similarity, nodes)
        inside = mask.to(similarity.dtype)
        counts = similarity.new_zeros(nodes).index_add(0, low.flatten(), ((1 - fraction) * inside).flatten())
        return counts.index_add(0, low.flatten() + 1, (fraction * inside).flatten())
    return _SoftHistogram.apply(similarity, mask, nodes)  # pyright: ignore[reportReturnType]


def _position(similarity: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return the node below each similarity and how far towards the next it lies, 0 to 1."""
    position = (similarity + 1) * ((nodes - 1) / 2)
    low = position.detach().floor().clamp(0, nodes - 2)
    return low.long(), position - low


class _SoftHistogram(torch.autograd.Function):
    """A histogram counted in blocks of rows; the gradient of a pair is the difference between its two nodes' gradients."""

    @staticmethod
    def forward(ctx: Any, similarity: Tensor, mask: Tensor, nodes: int) -> Tensor:
        ctx.save_for_backward(similarity, mask)
        # In float64, because float32 rounds the fractions away once a count reaches millions.
        counts = similarity.new_zeros(nodes, dtype=torch.float64)
        for block in row_blocks(similarity):
            low, fraction = _position(similarity[block], nodes)
            upper = torch.where(mask[block], fraction, 0.0).flatten().double()
            inside = mask[block].flatten().double()
            counts.index_add_(0, low.flatten(), inside - upper).index_add_(0, low.flatten() + 1, upper)
        return counts.to(similarity.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        similarity, mask = ctx.saved_tensors
        nodes = len(gradients[0])
        # (interval,) derivative by a similarity that lies between the nodes r and r + 1.
        steps = gradients[0].diff() * ((nodes - 1) / 2)
        # Within an interval this does not depend on the similarity, so autograd differentiates it by `steps` alone.
        total = [
            torch.where(mask[rows], steps[_position(similarity[rows], nodes)[0]], 0.0)
            for rows in row_blocks(similarity)
        ]
        return torch.cat(total), None, None
