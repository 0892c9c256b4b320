"""Identical vectors as one: a gallery's distinct vectors, and which items each of them stands for."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class DistinctVectors:
    """The distinct vectors of a gallery, in the order of their first appearance.

    Attributes:
        vectors: (distinct, dim).
        group: (item,) the number of each item's vector.
    """

    vectors: Tensor
    group: Tensor

    @classmethod
    def from_vectors(cls, vectors: Tensor) -> "DistinctVectors":
        """Number the (item, dim) vectors so that equal ones share a number; 0.0 and -0.0 are equal.

        >>> DistinctVectors.from_vectors(torch.tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]])).group
        tensor([0, 1, 0])
        """
        group, first = _number(_keys(vectors))
        if len(first) == len(vectors):
            return cls(vectors, group)
        if not _same(vectors, first[group]):
            # Two different vectors share a key, so the vectors themselves must be compared, which is far slower.
            group, first = _number(vectors.unique(dim=0, return_inverse=True)[1])
        return cls(vectors[first], group)

    @cached_property
    def counts(self) -> Tensor:
        """(distinct,) how many items each vector stands for."""
        return torch.bincount(self.group, minlength=len(self.vectors))

    @cached_property
    def _members(self) -> Tensor:
        return torch.argsort(self.group, stable=True)

    def expand(self, scores: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the k best items of each query from its best distinct vectors; equal scores come by index.

        Args:
            scores: (query, rank), best first.
            groups: (query, rank) numbers of distinct vectors; -1 where a search came to its end.
            k: how many items; the groups hold at least so many.

        Returns:
            (query, k) scores and indices, and (query,) which queries were left open: others with the score of the last
            place may be missing, or vectors were not found.
        """
        missing = (groups < 0).any(dim=1)
        groups = groups.clamp(min=0)
        if len(self.vectors) == len(self.group):
            open_ = missing | _tied_after(scores, k - 1)
            return *_ties_by_index(scores[:, :k], groups[:, :k]), open_
        ends = self.counts[groups].cumsum(dim=1)
        place = torch.arange(k, device=ends.device).expand(len(ends), k).contiguous()
        rank = torch.searchsorted(ends, place, right=True).clamp(max=groups.shape[1] - 1)
        group = groups.gather(1, rank)
        within = place - (ends.gather(1, rank) - self.counts[group])
        starts = self.counts.cumsum(0) - self.counts
        indices = self._members[(starts[group] + within).clamp(max=len(self.group) - 1)]
        open_ = missing | _tied_at(scores, rank[:, -1:])
        return *_ties_by_index(scores.gather(1, rank), indices), open_


def _keys(vectors: Tensor) -> Tensor:
    """Return an integer a vector, equal for equal vectors and seldom for others: Σ bits_i · m_i modulo 2^64."""
    draw = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (vectors.shape[1],), generator=draw).to(vectors.device) * 2 + 1
    # Adding zero turns -0.0 into 0.0, which is equal to it but has other bits.
    parts = [((part + 0.0).view(torch.int32) * factors).sum(dim=1) for part in vectors.split(ROWS_AT_ONCE)]
    return torch.cat(parts)


def _number(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Number keys in the order of their first appearance; returns each one's number and the first of each number."""
    known, inverse = keys.unique(return_inverse=True)
    items = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(known, len(keys), dtype=torch.int64).scatter_reduce(0, inverse, items, "amin")
    first, order = first.sort()
    number = torch.empty_like(order)
    number[order] = torch.arange(len(order), device=order.device)
    return number[inverse], first


def _same(vectors: Tensor, others: Tensor) -> bool:
    """Whether each vector equals the one it is to be replaced by."""
    rows = (others != torch.arange(len(others), device=others.device)).nonzero().squeeze(1)
    return all(torch.equal(vectors[part], vectors[others[part]]) for part in rows.split(ROWS_AT_ONCE))


def _tied_after(scores: Tensor, rank: int) -> Tensor:
    if rank + 1 >= scores.shape[1]:
        return torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    return scores[:, rank] == scores[:, rank + 1]


def _tied_at(scores: Tensor, rank: Tensor) -> Tensor:
    """Return which rows have at this rank a score that the rank before or after has too."""
    last = scores.shape[1] - 1
    at, before, after = (scores.gather(1, (rank + step).clamp(0, last)) for step in (0, -1, 1))
    return (((at == before) & (rank > 0)) | ((at == after) & (rank < last))).squeeze(1)


def _ties_by_index(scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Put equal scores into the order of their indices; few rows have any, so only these are sorted."""
    rows = (scores[:, 1:] == scores[:, :-1]).any(dim=1).nonzero().squeeze(1)
    if len(rows):
        some, order = indices[rows].sort(dim=1)
        best, back = scores[rows].gather(1, order).sort(dim=1, descending=True, stable=True)
        scores, indices = scores.clone(), indices.clone()
        scores[rows], indices[rows] = best, some.gather(1, back)
    return scores, indices
