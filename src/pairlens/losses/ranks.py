"""Smooth ranks: how many references lie above each positive of an anchor, and what moving them changes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from pairlens.losses.frame import Side

# A step of a difference of similarities x: (how far it counts as above, 0 to 1 or more; its derivative).
Step: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
CHUNK = 8


class Ranks(NamedTuple):
    """What lies above each positive.

    Attributes:
        positives: (anchor, place) smooth number of other positives above it.
        negatives: (anchor, place) smooth number of negatives above it.
    """

    positives: Tensor
    negatives: Tensor


def sigmoid_step(temperature: float) -> Step:
    """Return the step σ(x / t) with its derivative."""

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        value = (x / temperature).sigmoid()
        return value, value * (1 - value) / temperature

    return step


def count_above(positive: Side, negative: Side, step_p: Step, step_n: Step) -> Ranks:
    """Return the smooth ranks of all positives; in chunks of positives, so nothing is (anchor, positive, reference)."""
    above_p, above_n = [], []
    for places, others in _chunks(positive):
        here = positive.similarity[:, places, None]
        value_p, value_n = (
            step_p(positive.similarity[:, None] - here)[0],
            step_n(negative.similarity[:, None] - here)[0],
        )
        above_p.append(torch.where(others, value_p, 0.0).sum(dim=2))
        above_n.append(torch.where(negative.present[:, None], value_n, 0.0).sum(dim=2))
    return Ranks(torch.cat(above_p, dim=1), torch.cat(above_n, dim=1))


def spread(positive: Side, negative: Side, step_p: Step, step_n: Step, by_rank: Ranks) -> tuple[Tensor, Tensor]:
    """Return the pair weights w_p, w_n of a loss with the given derivatives by the ranks."""
    w_p, w_n = torch.zeros_like(positive.similarity), torch.zeros_like(negative.similarity)
    for places, others in _chunks(positive):
        here = positive.similarity[:, places, None]
        slope_p, slope_n = (
            step_p(positive.similarity[:, None] - here)[1],
            step_n(negative.similarity[:, None] - here)[1],
        )
        slope_p = torch.where(others, slope_p, 0.0) * by_rank.positives[:, places, None]
        slope_n = torch.where(negative.present[:, None], slope_n, 0.0) * by_rank.negatives[:, places, None]
        w_n = w_n + slope_n.sum(dim=1)
        w_p = w_p - slope_p.sum(dim=1)
        own = slope_p.sum(dim=2) + slope_n.sum(dim=2)
        w_p = torch.cat([w_p[:, : places.start], w_p[:, places] + own, w_p[:, places.stop :]], dim=1)
    return w_p, w_n


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
