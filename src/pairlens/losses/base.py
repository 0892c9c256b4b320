"""Base of the losses: the pairs of an anchor, closed-form pair weights, and the gradient that they give.

A loss is written once, as a function `weigh(positive, negative) -> PairWeights` of the two `Side`s of some anchors. It
returns the loss of each anchor and its pair weights (General Pair Weighting, Wang et al., CVPR 2019, arXiv 1904.06627):

    w_p = -dL_a/ds_p   and   w_n = dL_a/ds_n   of the anchor a.

`anchor_losses` evaluates it in one of three ways:

- On a CPU, in blocks of rows that fit into the cache. The few positives of an anchor are gathered into a narrow matrix.
  The pair weights are the gradient, so autograd records nothing.
- On a GPU, in one block. Gathering would need the number of positives, and reading it back would stall the GPU; so both
  sides are the whole matrix under a mask. The pair weights are the gradient.
- While `torch.compile` traces and within the transforms of `torch.func`, where no shape may depend on data, both sides are
  the whole matrix under a mask as well, and autograd differentiates the value.

A backward pass whose result will be differentiated (`create_graph`) computes the pair weights again while autograd records
them, in the first two ways as well.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final, get_args

import torch
from torch import Tensor

from pairlens.core.inputs import NotFiniteError
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import is_one_zero, one_zero
from pairlens.core.tracing import computed_once, is_readable, is_traced
from pairlens.losses.averaging import shares_of_anchors, sum_of_shares
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.positive_columns import PositiveColumns, known_columns, positive_columns
from pairlens.losses.reductions import ABSENT, as_number

Source: TypeAlias = Literal["batch", "memory", "proxies"]
SOURCES: tuple[Source, ...] = get_args(Source)

# Similarities per block of rows: 2 MiB in float32, which stay in the cache of a core.
BLOCK_ELEMENTS = 2**19


@dataclass(frozen=True, eq=False)
class Side:
    """The positives or the negatives of some anchors.

    The columns are slots: a slot is either a reference of the similarity matrix, or one of the few positives that were
    gathered for its anchor.

    Attributes:
        similarity: (anchor, slot) similarities.
        present: (anchor, slot) boolean, True where the slot holds a pair; the other slots must not matter.
        anchors: the rows of the similarity matrix that these anchors are, for a loss with a parameter per anchor.
        some: whether every anchor is known to have a pair; False where that is not known.
        full: whether every slot is known to hold a pair; False where that is not known.
    """

    similarity: Tensor
    present: Tensor
    anchors: slice = field(default_factory=lambda: slice(None))
    # What is known of the masks saves operations, whose number is the time of a small batch. It changes no result.
    some: bool = False
    full: bool = False

    @property
    def count(self) -> Tensor:
        """(anchor, 1) number of pairs, at least 1, in the dtype of the similarities."""
        return computed_once(self, "_count", self._counted)

    @property
    def indicator(self) -> Tensor:
        """(anchor, slot) 1 where there is a pair and 0 elsewhere, in the dtype of the similarities."""
        return computed_once(self, "_indicator", lambda: as_number(self.present, self.similarity.dtype))

    def _counted(self) -> Tensor:
        if self.full:
            return self.similarity.new_full((len(self.present), 1), self.present.shape[1])
        return self.present.sum(dim=1, keepdim=True).clamp(min=1).to(self.similarity.dtype)

    def masked(self, values: Tensor) -> Tensor:
        """Return the (anchor, slot) values, which must be finite, where there is a pair and 0 elsewhere."""
        # A product takes a quarter of the time of torch.where.
        return values.expand_as(self.present) if self.full else values * self.indicator

    def total(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) sum of the values over the pairs."""
        return self.masked(values).sum(dim=1, keepdim=True)

    def present_or(self, values: Tensor, absent: float) -> Tensor:
        """Return the values where there is a pair, and the number `absent` elsewhere."""
        return values if self.full else torch.where(self.present, values, absent)

    def highest(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) highest value among the pairs; ABSENT where there is none."""
        return self.present_or(values, ABSENT).amax(dim=1, keepdim=True)

    def lowest(self, values: Tensor) -> Tensor:
        """Return the (anchor, 1) lowest value among the pairs; -ABSENT where there is none."""
        return self.present_or(values, -ABSENT).amin(dim=1, keepdim=True)

    def share_of_extreme(self, extreme: Tensor) -> Tensor:
        """Return 1 at the pair whose similarity is the (anchor, 1) extreme, divided evenly if several tie; 0 elsewhere."""
        equal = self.similarity == extreme
        hit = as_number(equal if self.full else self.present & equal, self.similarity.dtype)
        return hit / hit.sum(dim=1, keepdim=True).clamp(min=1)

    def logsumexp(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return (anchor, 1) log Σ exp over the pairs, and (anchor, slot) its derivative, the softmax.

        For an anchor without pairs the sum is about ABSENT and the softmax 0.

        >>> side = Side(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
        >>> side.logsumexp(torch.tensor([[0.0, 0.0, 9.0]]))
        (tensor([[0.6931]]), tensor([[0.5000, 0.5000, 0.0000]]))
        """
        masked = self.present_or(logits, ABSENT)
        softmax = masked.softmax(dim=1)
        # log Σ exp = max logit - log(max softmax). So one pass of the softmax kernel gives both results; torch.logsumexp
        # alone takes five.
        value = masked.amax(dim=1, keepdim=True) - softmax.amax(dim=1, keepdim=True).log()
        if self.some:
            return value, softmax
        # Without pairs all logits are ABSENT and the softmax is uniform instead of 0.
        return value, softmax * as_number(value > ABSENT / 2, softmax.dtype)


class PairWeights(NamedTuple):
    """The loss of each anchor and its closed-form pair weights.

    Attributes:
        value: (anchor, 1) the loss.
        positive: (anchor, slot) w_p = -dL/ds_p, 0 where there is no pair.
        negative: (anchor, slot) w_n = dL/ds_n, 0 where there is no pair.
        times: (anchor, 1) how often each anchor counts in the mean, constant in the gradient; None if all count once.
    """

    value: Tensor
    positive: Tensor
    negative: Tensor
    times: Tensor | None = None


def none_active(active: Tensor) -> bool:
    """Return whether none of some booleans is true, so that `weigh` can stop with `zero_weights`.

    It must go on, and the answer is False, where that cannot be read, or where autograd records the weights.
    """
    return not torch.is_grad_enabled() and is_readable(active) and not active.any()


def zero_weights(positive: Side, negative: Side) -> PairWeights:
    """Return the value and the pair weights of anchors without an active pair: 0."""
    s_p = positive.similarity
    return PairWeights(s_p.new_zeros(len(s_p), 1), one_zero(s_p), one_zero(negative.similarity))


WeighPairs: TypeAlias = Callable[[Side, Side], PairWeights]
# Of some rows: (anchor, 1) losses, (anchor, reference) gradient, and how often each anchor counts in the mean.
Weighed: TypeAlias = tuple[Tensor, Tensor, Tensor | None]


class AnchorLoss(ABC):
    """A loss whose value is the mean over anchors; a subclass writes the loss of one anchor and its pair weights.

    Attributes:
        references: the sources of references that the loss can be compared with, its usual one first.
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES

    @abstractmethod
    def weigh(self, positive: Side, negative: Side, /) -> PairWeights:
        """Return the loss and the pair weights of each anchor.

        Second derivatives are those of the weights, so both must be written in operations that autograd can follow, and what
        is constant in the gradient must be detached in the weights as well.
        """

    @final
    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the mean loss over the anchors that have a positive and a negative.

        Args:
            similarity: (anchor, reference) cosine similarities.
            pairs: the positives and negatives among them.

        Raises:
            ValueError: if a similarity is not finite; see `anchor_losses`.
        """
        return mean_over_anchors(self.weigh, similarity, pairs)


def mean_over_anchors(weigh: WeighPairs, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean loss over the anchors that have a positive and a negative; 0 with a graph if there is none.

    Args:
        weigh: the loss of an anchor; it also says how often the anchor counts.
        similarity: (anchor, reference).
        pairs: the positives and negatives among them.

    Raises:
        ValueError: if they do not belong together, or a similarity is not finite; see `anchor_losses`.
    """
    return _evaluated(weigh, similarity, pairs, averaged=True)


def anchor_losses(weigh: WeighPairs, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return the (anchor,) losses, differentiable; the value of an anchor without a positive or a negative is undefined.

    Args:
        weigh: the loss of an anchor.
        similarity: (anchor, reference).
        pairs: the positives and negatives among them.

    Raises:
        ValueError: if similarities and pairs do not belong together; see `as_similarity`.
        NotFiniteError: if a similarity is not finite (checked on a CPU in eager mode, where it costs no synchronisation).
    """
    return _evaluated(weigh, similarity, pairs, averaged=False)


def _evaluated(weigh: WeighPairs, similarity: Tensor, pairs: Pairs, averaged: bool) -> Tensor:
    """Return the (anchor,) losses, or their mean."""
    similarity = as_similarity(similarity, pairs)
    if not similarity.numel():
        nothing = similarity.sum(dim=1)  # 0 with a graph: there is no pair
        return nothing.sum() if averaged else nothing
    if is_traced():
        columns, positive = known_columns(pairs), Side(similarity, pairs.positive)
        if columns is not None:
            positive = Side(similarity.gather(1, columns.column), columns.taken, full=columns.full)
        value, _, _, times = weigh(positive, Side(similarity, pairs.negative))
        return sum_of_shares(value, shares_of_anchors(times, pairs, value.dtype)) if averaged else value.squeeze(1)
    if not similarity.is_cuda:
        check_finite(similarity)
    return _AnchorLosses.apply(similarity, pairs, weigh, averaged)  # pyright: ignore[reportReturnType]


def row_blocks(similarity: Tensor) -> list[slice]:
    """Return slices of rows that fit into the cache of a CPU; one slice of all rows on a GPU and while being traced."""
    if not is_readable(similarity):
        return [slice(None)]
    rows = max(1, BLOCK_ELEMENTS // max(1, similarity.shape[1]))
    return [slice(start, start + rows) for start in range(0, max(1, len(similarity)), rows)]


def check_finite(similarity: Tensor) -> None:
    """Raise NotFiniteError if a similarity is NaN or infinite, naming the first."""
    # The sum is not finite if an element is not, and it is one pass without a mask in memory.
    if math.isfinite(similarity.detach().sum().item()):
        return
    not_finite = (~torch.isfinite(similarity)).nonzero()
    if len(not_finite):
        anchor, reference = not_finite[0].tolist()
        raise NotFiniteError(
            f"the similarity of anchor {anchor} and reference {reference} is not finite ({len(not_finite)} similarities "
            "are not); look for NaN or overflow in the embeddings"
        )


class _AnchorLosses(torch.autograd.Function):
    """The (anchor,) losses; with `averaged` their mean."""

    @staticmethod
    def forward(ctx: Any, similarity: Tensor, pairs: Pairs, weigh: WeighPairs, averaged: bool) -> Tensor:
        columns = None if similarity.is_cuda else positive_columns(pairs)
        blocks = row_blocks(similarity)
        if len(blocks) == 1:
            values, gradient, times = _weigh_rows(weigh, similarity, pairs, columns)
        else:
            values, gradient, times = _weigh_blocks(weigh, similarity, pairs, columns, blocks)
        # (anchor, 1) share of each anchor in the mean; None if all have the same.
        shares = None
        if averaged and (times is not None or not pairs.all_complete):
            shares = shares_of_anchors(times, pairs, values.dtype)
            result = sum_of_shares(values, shares)
        else:
            result = values.mean() if averaged else values.squeeze(1)
        # No pair is active, as in many batches late in training: the functions before this one have nothing to do. Reading a
        # number back takes less time than an operation.
        is_zero = is_readable(values) and not (result.any() if result.ndim else result.item())
        if is_zero and not is_one_zero(gradient) and not gradient.any():
            gradient = one_zero(gradient)
        ctx.save_for_backward(similarity, gradient)
        ctx.recipe = (weigh, pairs, columns)
        ctx.scale = (averaged, shares)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        similarity, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The caller asks for a gradient that can be differentiated itself. The pair weights are that gradient, so
            # autograd records how they follow from the similarities.
            weigh, pairs, columns = ctx.recipe
            _, gradient, _ = _weigh_rows(weigh, similarity, pairs, columns)
        elif is_one_zero(gradient):
            return gradient, None, None, None
        # The loss of an anchor depends on its own row only, so the chain rule scales each row by one number.
        averaged, shares = ctx.scale
        if shares is not None:
            scale = gradients[0] * shares
        else:
            scale = gradients[0] / len(similarity) if averaged else gradients[0][:, None]
        return gradient * scale, None, None, None


def _weigh_blocks(
    weigh: WeighPairs, similarity: Tensor, pairs: Pairs, columns: PositiveColumns | None, blocks: list[slice]
) -> Weighed:
    """Return the same of all rows, evaluated in blocks."""
    # The largest tensor is filled in place, so that it is never in memory twice.
    gradient = torch.empty_like(similarity)
    values, every_times = [], []
    for block in blocks:
        value, gradient[block], times = _weigh_rows(weigh, similarity, pairs, columns, block)
        values.append(value)
        every_times.append(times)
    return torch.cat(values), gradient, None if every_times[0] is None else torch.cat(every_times)


def _weigh_rows(
    weigh: WeighPairs, similarity: Tensor, pairs: Pairs, columns: PositiveColumns | None, rows: slice | None = None
) -> Weighed:
    """Return the losses of some rows, by default of all, and their gradient."""
    anchors = slice(None) if rows is None else rows

    def take(tensor: Tensor) -> Tensor:
        # Slicing takes time even where it selects everything.
        return tensor if rows is None else tensor[rows]

    own = take(similarity)
    some = pairs.all_complete
    negative = Side(own, take(pairs.negative), anchors, some)
    if columns is None:
        value, w_p, w_n, times = weigh(Side(own, take(pairs.positive), anchors, some), negative)
        return value, w_n - w_p, times
    column = take(columns.column)  # (anchor, slot)
    positive = Side(own.gather(1, column), take(columns.taken), anchors, some, columns.full)
    value, w_p, w_n, times = weigh(positive, negative)
    if is_one_zero(w_n) and is_one_zero(w_p):
        return value, one_zero(own), times
    # w_p is 0 in slots that are not taken, so adding it to their column 0 changes nothing.
    return value, w_n.expand_as(own).scatter_add(1, column, -w_p), times
