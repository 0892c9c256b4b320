"""Smooth ranks: how many references lie above each positive of an anchor, and what moving them changes."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pairlens.losses.base import PairWeights, Side

# A step of a difference of similarities x: (how far it counts as above, 0 to 1 or more; its derivative).
SmoothStep: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
CHUNK = 8


class Cost(NamedTuple):
    """What the ranks of some positives cost their anchor, and how fast that grows with the ranks.

    Attributes:
        value: (anchor, place) what each positive adds to the loss.
        by_positives: (anchor, place) derivative by the smooth number of other positives above it.
        by_negatives: (anchor, place) derivative by the smooth number of negatives above it.
    """

    value: Tensor
    by_positives: Tensor
    by_negatives: Tensor


# The cost of (anchor, place) smooth numbers of other positives and of negatives above.
Price: TypeAlias = Callable[[Tensor, Tensor], Cost]


def weights_are_gradient(weigh: Callable[[Any, Side, Side], PairWeights]) -> Callable[[Any, Side, Side], PairWeights]:
    """Let the pair weights be the gradient while tracing too: autograd would keep every chunk, together cubic."""

    @wraps(weigh)
    def traced(self: Any, positive: Side, negative: Side) -> PairWeights:
        if not torch.compiler.is_compiling():
            return weigh(self, positive, negative)
        s_p, s_n = positive.similarity.detach(), negative.similarity.detach()
        value, w_p, w_n = weigh(self, Side(s_p, positive.present), Side(s_n, negative.present))
        # Zero, with the gradient w_n - w_p.
        moved = (w_n * (negative.similarity - s_n)).sum(dim=1) - (w_p * (positive.similarity - s_p)).sum(dim=1)
        return PairWeights(value + moved[:, None], w_p, w_n)

    return traced


def sigmoid_step(temperature: float) -> SmoothStep:
    """Return the step σ(x / t) with its derivative."""

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        value = (x / temperature).sigmoid()
        return value, value * (1 - value) / temperature

    return step


def over_ranks(positive: Side, negative: Side, step_p: SmoothStep, step_n: SmoothStep, price: Price) -> PairWeights:
    """Return the summed price of the ranks of an anchor's positives and its pair weights.

    Once through the positives, in chunks: what a chunk needs is forgotten with it, so nothing is (anchor, positive,
    reference).
    """
    s_p, s_n = positive.similarity, negative.similarity
    value, own = s_p.new_zeros(len(s_p), 1), []
    w_p, w_n = torch.zeros_like(s_p), torch.zeros_like(s_n)
    for places, others in _chunks(positive):
        here, present = s_p[:, places, None], positive.present[:, places]
        (above_p, slope_p), (above_n, slope_n) = step_p(s_p[:, None] - here), step_n(s_n[:, None] - here)
        above_p, slope_p = (torch.where(others, x, 0.0) for x in (above_p, slope_p))
        above_n, slope_n = (torch.where(negative.present[:, None], x, 0.0) for x in (above_n, slope_n))
        cost, by_p, by_n = (torch.where(present, x, 0.0) for x in price(above_p.sum(dim=2), above_n.sum(dim=2)))
        value = value + cost.sum(dim=1, keepdim=True)
        slope_p, slope_n = slope_p * by_p[:, :, None], slope_n * by_n[:, :, None]
        w_p, w_n = w_p - slope_p.sum(dim=1), w_n + slope_n.sum(dim=1)
        own.append(slope_p.sum(dim=2) + slope_n.sum(dim=2))
    return PairWeights(value, w_p + torch.cat(own, dim=1), w_n)


def with_query(positive: Side) -> Side:
    """Return the positives with the query itself among them, at similarity 1, in the last place."""
    similarity = torch.cat([positive.similarity, torch.ones_like(positive.similarity[:, :1])], dim=1)
    return Side(similarity, torch.cat([positive.present, torch.ones_like(positive.present[:, :1])], dim=1))


def _chunks(positive: Side) -> Iterator[tuple[slice, Tensor]]:
    """Yield some places at a time, and which of the positives are other positives than the one at the place."""
    width = positive.similarity.shape[1]
    itself = torch.eye(width, dtype=torch.bool, device=positive.similarity.device)
    for start in range(0, width, CHUNK):
        places = slice(start, min(start + CHUNK, width))
        yield places, positive.present[:, None, :] & positive.present[:, places, None] & ~itself[places]
