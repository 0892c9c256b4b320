"""The frame of the losses: what they see of an anchor, and how a value with closed-form pair weights becomes a
gradient.

A loss is written once, as a function `weigh(positive, negative) -> Weighed` of the two `Side`s of its anchors: it
returns the value and the pair weights of General Pair Weighting (Wang et al., CVPR 2019, arXiv 1904.06627),

    w_p = -dL_a/ds_p   and   w_n = dL_a/ds_n   of the anchor a.

`each_anchor` runs it in one of two ways. In eager mode on the CPU, the similarities are walked through once in blocks
of rows; the few positives of an anchor are gathered into a narrow matrix; the weights are the gradient, and no graph is
recorded. What is traced by `torch.compile` has no data-dependent shapes: both sides are the whole matrix under a mask,
and autograd differentiates the value. On a GPU the sides are whole as well, and the weights are the gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import working_precision
from pairlens.losses.reductions import ABSENT, as_number, mean_over

Source: TypeAlias = Literal["batch", "memory", "proxies"]

BLOCK = 2**19
NARROW = 4


@dataclass(frozen=True, eq=False)
class Side:
    """One side of some anchors, their positives or their negatives.

    Attributes:
        similarity: (anchor, place) similarities; a place is a reference, or one of the few positives of its anchor.
        present: (anchor, place) boolean, True where the place holds a pair; the others must not matter.
        anchors: which rows of the matrix these anchors are, for a loss with a parameter an anchor.
    """

    similarity: Tensor
    present: Tensor
    anchors: slice = field(default_factory=lambda: slice(None))

    @property
    def count(self) -> Tensor:
        """(anchor, 1) how many pairs there are, at least 1, in the type of the similarities."""
        return self.present.sum(dim=1, keepdim=True).clamp(min=1).to(self.similarity.dtype)

    @property
    def number(self) -> Tensor:
        """(anchor, place) 1 where there is a pair and 0 elsewhere, in the type of the similarities."""
        return as_number(self.present, self.similarity.dtype)

    def keep(self, values: Tensor) -> Tensor:
        """Return the values, which must be finite, where there is a pair and 0 elsewhere."""
        # A product is a quarter of the time of a selection.
        return values * self.number

    def total(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) sum of the values over the pairs."""
        return self.keep(values).sum(dim=1, keepdim=True)

    def highest(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) highest value among the pairs; ABSENT where there is none."""
        return torch.where(self.present, values, ABSENT).amax(dim=1, keepdim=True)

    def lowest(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) lowest value among the pairs; -ABSENT where there is none."""
        return torch.where(self.present, values, -ABSENT).amin(dim=1, keepdim=True)

    def shared(self, extreme: Tensor) -> Tensor:
        """Return 1 over the pairs that have the extreme similarity of their anchor, divided among them, and 0 elsewhere."""
        hit = as_number(self.present & (self.similarity == extreme), self.similarity.dtype)
        return hit / hit.sum(dim=1, keepdim=True).clamp(min=1)

    def logsumexp(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return (anchor, 1) log Σ exp over the pairs and (anchor, place) its derivative, the softmax.

        Where there is no pair the sum is about ABSENT and the softmax 0.

        >>> side = Side(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
        >>> side.logsumexp(torch.tensor([[0.0, 0.0, 9.0]]))
        (tensor([[0.6931]]), tensor([[0.5000, 0.5000, 0.0000]]))
        """
        logits = torch.where(self.present, logits, ABSENT)
        share = logits.softmax(dim=1)
        # The softmax kernel is one pass where logsumexp is five; the highest share gives the sum back.
        value = logits.amax(dim=1, keepdim=True) - share.amax(dim=1, keepdim=True).log()
        return value, share * as_number(value > ABSENT / 2, share.dtype)


class PairWeights(NamedTuple):
    """The loss of each anchor and its closed-form pair weights.

    Attributes:
        value: (anchor, 1) the loss.
        positive: (anchor, place) w_p = -dL/ds_p, 0 where there is no pair.
        negative: (anchor, place) w_n = dL/ds_n, 0 where there is no pair.
    """

    value: Tensor
    positive: Tensor
    negative: Tensor


WeighPairs: TypeAlias = Callable[[Side, Side], PairWeights]


def over_anchors(weigh: WeighPairs, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean loss of the anchors that have a positive and a negative; 0 with a graph if none has.

    Args:
        weigh: the loss of an anchor.
        similarity: (anchor, reference).
        pairs: which of them are positives and negatives.

    Raises:
        ValueError: if a similarity is not finite (looked at in eager mode on the CPU, where it stalls nothing).
    """
    return mean_over(each_anchor(weigh, similarity, pairs), pairs.complete)


def each_anchor(weigh: WeighPairs, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return the (anchor,) losses, differentiable; see `over_anchors`."""
    similarity = working_precision(similarity)
    if torch.compiler.is_compiling():
        return weigh(Side(similarity, pairs.positive), Side(similarity, pairs.negative)).value.squeeze(1)
    if not similarity.is_cuda:
        check_finite(similarity)
    return _EachAnchor.apply(similarity, pairs, weigh)  # pyright: ignore[reportReturnType]


def runs_eagerly(similarity: Tensor) -> bool:
    """Return whether values may be read back and shapes may depend on data: on the CPU, and not while being traced."""
    return not torch.compiler.is_compiling() and not similarity.is_cuda


def blocks(similarity: Tensor) -> list[slice]:
    """Return the rows in blocks that stay in a CPU's cache; on a GPU, and while being traced, all rows in one."""
    if not runs_eagerly(similarity):
        return [slice(None)]
    rows = max(1, BLOCK // max(1, similarity.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(similarity), rows)]


def check_finite(similarity: Tensor) -> None:
    """Raise ValueError if a similarity is NaN or infinite, naming where."""
    if torch.isfinite(similarity.detach().sum()):
        return
    bad = (~torch.isfinite(similarity)).nonzero()
    if len(bad):
        anchor, reference = bad[0].tolist()
        raise ValueError(
            f"the similarity of anchor {anchor} and reference {reference} is not finite ({len(bad)} are not); look for "
            "NaN or overflow in the embeddings"
        )


class _EachAnchor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, similarity: Tensor, pairs: Pairs, weigh: WeighPairs) -> Tensor:
        places = None if similarity.is_cuda else positive_columns(pairs)
        gradient = torch.empty_like(similarity)
        values = similarity.new_empty(len(similarity))
        for block in blocks(similarity):
            values[block] = _weigh_block(weigh, similarity[block], pairs, places, block, gradient[block])
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0][:, None], None, None


class PositiveColumns(NamedTuple):
    """Where the positives of each anchor are: (anchor, place) columns, and which of the places are taken."""

    column: Tensor
    taken: Tensor


def positive_columns(pairs: Pairs) -> PositiveColumns | None:
    """Return the columns of each anchor's positives, or None where they are not few.

    >>> positive_columns(Pairs.within(torch.arange(12) % 6)).column.T
    tensor([[ 6,  7,  8,  9, 10, 11,  0,  1,  2,  3,  4,  5]])
    """
    anchors, columns = pairs.positive.nonzero(as_tuple=True)
    counts = torch.bincount(anchors, minlength=len(pairs.positive))
    most = max(1, int(counts.max())) if len(counts) else 1
    if most * NARROW > pairs.positive.shape[1]:
        return None
    place = torch.arange(len(anchors)) - (counts.cumsum(0) - counts)[anchors]
    index = anchors.new_zeros(len(counts), most)
    index[anchors, place] = columns
    return PositiveColumns(index, torch.arange(most) < counts[:, None])


def _weigh_block(
    weigh: WeighPairs, similarity: Tensor, pairs: Pairs, places: PositiveColumns | None, block: slice, gradient: Tensor
) -> Tensor:
    """Write the gradient of some anchors and return their losses."""
    negative = Side(similarity, pairs.negative[block], block)
    if places is None:
        value, w_p, w_n = weigh(Side(similarity, pairs.positive[block], block), negative)
        torch.sub(w_n, w_p, out=gradient)
    else:
        index, taken = places.column[block], places.taken[block]
        value, w_p, w_n = weigh(Side(similarity.gather(1, index), taken, block), negative)
        gradient.copy_(w_n).scatter_add_(1, index, -w_p)
    return value.squeeze(1)
