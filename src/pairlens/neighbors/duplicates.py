"""De-duplication of gallery vectors: the distinct vectors, and the items that each of them stands for."""

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
        group: (item,) number of the distinct vector that each item has.
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
        if not _all_equal(vectors, first[group]):
            # Two different vectors share a key, so the vectors themselves must be compared, which is far slower.
            group, first = _number(vectors.unique(dim=0, return_inverse=True)[1])
        return cls(vectors[first], group)

    @property
    def all_unique(self) -> bool:
        """Whether no two items of the gallery have equal vectors."""
        return len(self.vectors) == len(self.group)

    @cached_property
    def counts(self) -> Tensor:
        """(distinct,) number of items that each vector stands for."""
        return torch.bincount(self.group, minlength=len(self.vectors))

    @cached_property
    def _items_by_group(self) -> Tensor:
        """(item,) all items, sorted by group and then by index."""
        return torch.argsort(self.group, stable=True)

    def expand(self, scores: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the k best items of each query, given its best distinct vectors; equal scores are ordered by index.

        Args:
            scores: (query, rank), best first.
            groups: (query, rank) numbers of distinct vectors; -1 where a search found no more.
            k: number of items; the groups of a query together hold at least this many.

        Returns:
            (query, k) scores, (query, k) item indices, and (query,) whether the query is unresolved: the search found too
            few vectors, or the last rank is tied, so that an item of the same score and a lower index may be missing.
        """
        incomplete = (groups < 0).any(dim=1)
        expand = self._expand_unique if self.all_unique else self._expand_groups
        best, indices, tied = expand(scores, groups.clamp(min=0), k)
        return *_sort_ties_by_index(best, indices), incomplete | tied

    def _expand_unique(self, scores: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Expand groups of one item each, whose numbers are the items' indices."""
        return scores[:, :k], groups[:, :k], _tied_after(scores, k - 1)

    def _expand_groups(self, scores: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Expand groups of several items: the slots 0 to k - 1 of a query are filled group by group."""
        ends = self.counts[groups].cumsum(dim=1)  # (query, rank) items in the groups up to and with this one
        slots = torch.arange(k, device=ends.device).expand(len(ends), k).contiguous()  # (query, k)
        # The group that fills a slot is the first one that ends behind it.
        rank = torch.searchsorted(ends, slots, right=True).clamp(max=groups.shape[1] - 1)  # (query, k)
        group = groups.gather(1, rank)  # (query, k)
        # Number of the item within its group: the slot, less the slots that earlier groups fill.
        member = slots - (ends.gather(1, rank) - self.counts[group])  # (query, k)
        starts = self.counts.cumsum(0) - self.counts  # (distinct,) where each group begins in _items_by_group
        # An incomplete search may point behind the last item; such a query is unresolved, whatever stands here.
        indices = self._items_by_group[(starts[group] + member).clamp(max=len(self.group) - 1)]  # (query, k)
        return scores.gather(1, rank), indices, _tied_at(scores, rank[:, -1:])


def _keys(vectors: Tensor) -> Tensor:
    """Return an integer per vector, equal for equal vectors and seldom for others: Σ bits_i · m_i modulo 2^64."""
    rng = torch.Generator().manual_seed(0)
    # Odd factors: multiplication by an odd number loses no bit modulo 2^64.
    factors = torch.randint(-(2**62), 2**62, (vectors.shape[1],), generator=rng).to(vectors.device) * 2 + 1
    # Adding zero turns -0.0 into 0.0, which is equal to it but has other bits.
    parts = [((part + 0.0).view(torch.int32) * factors).sum(dim=1) for part in vectors.split(ROWS_AT_ONCE)]
    return torch.cat(parts)


def _number(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (item,) numbers of keys in the order of first appearance, and the first item of each number."""
    distinct, inverse = keys.unique(return_inverse=True)  # sorted by key
    items = torch.arange(len(keys), device=keys.device)
    no_item = torch.full_like(distinct, len(keys), dtype=torch.int64)
    first, order = no_item.scatter_reduce(0, inverse, items, "amin").sort()
    # `order` lists the keys by first appearance; its inverse permutation numbers them.
    number = torch.empty_like(order)
    number[order] = torch.arange(len(order), device=order.device)
    return number[inverse], first


def _all_equal(vectors: Tensor, replacements: Tensor) -> bool:
    """Return whether each vector equals the one with the index that is to replace it."""
    replaced = (replacements != torch.arange(len(replacements), device=replacements.device)).nonzero().squeeze(1)
    # In parts, so that the copies of the vectors stay small.
    return all(torch.equal(vectors[rows], vectors[replacements[rows]]) for rows in replaced.split(ROWS_AT_ONCE))


def _tied_after(scores: Tensor, rank: int) -> Tensor:
    """Return which rows of (query, rank) scores have the same score at this rank and at the next."""
    if rank + 1 >= scores.shape[1]:
        return torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    return scores[:, rank] == scores[:, rank + 1]


def _tied_at(scores: Tensor, rank: Tensor) -> Tensor:
    """Return which rows of (query, rank) scores have the score at their own (query, 1) rank at a neighbouring rank too."""
    last = scores.shape[1] - 1
    own = scores.gather(1, rank)
    before = scores.gather(1, (rank - 1).clamp(min=0))
    after = scores.gather(1, (rank + 1).clamp(max=last))
    # The first rank has no rank before it, and the last none behind it; there the clamp compares a score with itself.
    return (((own == before) & (rank > 0)) | ((own == after) & (rank < last))).squeeze(1)


def _sort_ties_by_index(scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Order equal scores by index; only the few rows that have equal scores are sorted."""
    rows = (scores[:, 1:] == scores[:, :-1]).any(dim=1).nonzero().squeeze(1)
    if not len(rows):
        return scores, indices
    # Sorting by index and then, stably, by score leaves equal scores in the order of their indices.
    by_index, order = indices[rows].sort(dim=1)
    by_score, order_again = scores[rows].gather(1, order).sort(dim=1, descending=True, stable=True)
    sorted_scores = scores.clone()
    sorted_scores[rows] = by_score
    sorted_indices = indices.clone()
    sorted_indices[rows] = by_index.gather(1, order_again)
    return sorted_scores, sorted_indices
