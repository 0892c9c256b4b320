"""Smooth ranks: a differentiable number of references above each positive of an anchor, and its gradient."""

from collections.abc import Callable, Iterator
from functools import reduce, wraps
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pairlens.losses.base import PairWeights, Side
from pairlens.losses.reductions import ABSENT

# A smooth comparison of x = s_reference - s_positive: (how much the reference counts as above, 0 to 1 or more; the
# derivative of that by x). Both must be 0 at x = ABSENT, where there is no pair.
SmoothStep: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
# Positives that are compared with all references at once; it bounds the memory at CHUNK · (anchor, reference).
CHUNK = 8


class Cost(NamedTuple):
    """What the ranks of some positives cost their anchor, and the derivatives of that.

    Attributes:
        value: (anchor, slot) what each positive adds to the loss.
        by_positives: (anchor, slot) derivative by the smooth number of other positives above it.
        by_negatives: (anchor, slot) derivative by the smooth number of negatives above it.
    """

    value: Tensor
    by_positives: Tensor
    by_negatives: Tensor


# The cost of (anchor, slot) smooth numbers of other positives and of negatives above each positive.
Price: TypeAlias = Callable[[Tensor, Tensor], Cost]


class Comparison(NamedTuple):
    """Some positives compared with all references of one side.

    Attributes:
        above: (anchor, slot) smooth number of references above each positive.
        slope: (anchor, slot, reference) derivative of `above` by the similarity of each reference.
    """

    above: Tensor
    slope: Tensor


def weights_are_gradient(weigh: Callable[[Any, Side, Side], PairWeights]) -> Callable[[Any, Side, Side], PairWeights]:
    """Make the pair weights of a decorated `weigh` the gradient while `torch.compile` traces, too.

    Otherwise autograd would save the tensors of every chunk, which together are (anchor, positive, reference). They are
    saved where a second derivative needs them: in a backward pass with `create_graph` and within transforms of `torch.func`.
    """

    @wraps(weigh)
    def traced(self: Any, positive: Side, negative: Side) -> PairWeights:
        if not torch.compiler.is_compiling():
            return weigh(self, positive, negative)
        s_p = positive.similarity.detach()
        s_n = negative.similarity.detach()
        value, w_p, w_n, _ = weigh(self, Side(s_p, positive.present), Side(s_n, negative.present))
        # Each difference below is zero, so they change no value; their gradients are w_n and w_p.
        pushed = (w_n * (negative.similarity - s_n)).sum(dim=1)
        pulled = (w_p * (positive.similarity - s_p)).sum(dim=1)
        return PairWeights(value + (pushed - pulled)[:, None], w_p, w_n)

    return traced


def sigmoid_step(temperature: float) -> SmoothStep:
    """Return the smooth comparison σ(x / t) with its derivative."""

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        value = (x / temperature).sigmoid()
        return value, value * (1 - value) / temperature

    return step


def sum_over_ranks(
    positive: Side, negative: Side, step_p: SmoothStep, step_n: SmoothStep, price: Price
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (anchor, 1) summed price of the ranks of each anchor's positives, and the weights of both sides.

    Positives are processed in chunks, so no (anchor, positive, reference) tensor is ever materialised.
    """
    # A sum that starts with the first chunk, because a small batch has only one and takes as long as its operations.
    chunks = (_rank_chunk(positive, negative, step_p, step_n, price, *chunk) for chunk in _chunks(positive))
    total = reduce(_joined, chunks)
    return total.value, torch.cat(total.own, dim=1) - total.by_positives, total.by_negatives


class _Ranked(NamedTuple):
    """The (anchor, 1) price of the positives of a chunk, and its derivatives by both sides and by their own similarity."""

    value: Tensor
    by_positives: Tensor
    by_negatives: Tensor
    own: tuple[Tensor, ...]


def _joined(one: _Ranked, more: _Ranked) -> _Ranked:
    by_positives = one.by_positives + more.by_positives
    return _Ranked(one.value + more.value, by_positives, one.by_negatives + more.by_negatives, one.own + more.own)


def _rank_chunk(
    positive: Side,
    negative: Side,
    step_p: SmoothStep,
    step_n: SmoothStep,
    price: Price,
    slots: slice,
    other_positives: Tensor,
) -> _Ranked:
    """Return the price of the ranks of the positives in some slots."""
    counted = positive.similarity[:, slots, None]  # (anchor, slot, 1), broadcast against the references
    present = None if positive.full else positive.present[:, slots]
    among_p = _compare(step_p, positive.similarity, counted, other_positives)
    among_n = _compare(step_n, negative.similarity, counted, negative.present[:, None])
    cost = price(among_p.above, among_n.above)
    # Chain rule: derivative by the rank, times derivative of the rank by each similarity; (anchor, slot, reference).
    by_p = among_p.slope * _where(present, cost.by_positives)[:, :, None]
    by_n = among_n.slope * _where(present, cost.by_negatives)[:, :, None]
    # A rank depends on differences s_reference - s_positive, so the counted positive gets the opposite derivative.
    own = by_p.sum(dim=2) + by_n.sum(dim=2)
    value = _where(present, cost.value).sum(dim=1, keepdim=True)
    return _Ranked(value, by_p.sum(dim=1), by_n.sum(dim=1), (own,))


def _compare(step: SmoothStep, similarity: Tensor, counted: Tensor, mask: Tensor) -> Comparison:
    """Compare (anchor, slot, 1) positives with the masked ones of (anchor, reference) similarities."""
    # Masked before the comparison: one selection of (anchor, slot, reference) values instead of two.
    count, slope = step(torch.where(mask, similarity[:, None] - counted, ABSENT))
    return Comparison(count.sum(dim=2), slope)


def _where(mask: Tensor | None, values: Tensor) -> Tensor:
    # A selection and not a product: where there is no pair, a value may be infinite. None stands for pairs everywhere.
    return values if mask is None else torch.where(mask, values, 0.0)


def with_query(positive: Side) -> Side:
    """Return the positives with the query itself, at similarity 1, appended in the last slot."""
    similarity = torch.cat([positive.similarity, torch.ones_like(positive.similarity[:, :1])], dim=1)
    return Side(similarity, torch.cat([positive.present, torch.ones_like(positive.present[:, :1])], dim=1))


def _chunks(positive: Side) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of slots with (anchor or 1, slot, positive) masks of the other positives that each is compared with."""
    slots = positive.similarity.shape[1]
    others = ~torch.eye(slots, dtype=torch.bool, device=positive.similarity.device)
    for start in range(0, slots, CHUNK):
        chunk = slice(start, min(start + CHUNK, slots))
        mask = others[None, chunk]
        if not positive.full:
            mask = mask & positive.present[:, None, :] & positive.present[:, chunk, None]
        yield chunk, mask
