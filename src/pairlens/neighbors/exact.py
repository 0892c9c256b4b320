"""Exact nearest neighbours by cosine similarity: FAISS on the CPU, chunked product and top-k on a GPU.

Two promises that raw search does not make: an item is excluded by its index and never by its score, and equal scores
come in the order of their indices. For the second, identical vectors are searched once and given back as a group,
because a matrix product may round the same dot product differently at the edge of a tile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import faiss
import torch
from torch import Tensor

from pairlens.core.similarity import unit, working_precision
from pairlens.neighbors.duplicates import DistinctVectors

GPU_BYTES = 2**29
FULL_BYTES = 2**28
BYTES_A_KEY = 32

Top: TypeAlias = Callable[[Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest gallery items of each query, best first.

    Attributes:
        scores: (query, rank) cosine similarities.
        indices: (query, rank) int64 positions in the gallery.
    """

    scores: Tensor
    indices: Tensor


def nearest(queries: Tensor, gallery: Tensor, k: int, itself: Tensor | None = None) -> Neighbors:
    """Return the k gallery items most similar to each query; equal scores come in the order of their index.

    Args:
        queries: (query, dim); scaled to unit length here.
        gallery: (item, dim); scaled to unit length here.
        k: how many neighbours; at most the number of items (one less with `itself`).
        itself: (query,) the gallery index that is the query itself and must not be returned.

    Raises:
        ValueError: if k is out of range, the dimensions differ, or a vector is not finite.

    >>> found = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]]), k=2)
    >>> found.indices
    tensor([[1, 2]])
    """
    return ExactIndex(gallery).search(queries, k, itself)


class ExactIndex:
    """A gallery made ready for many searches: `nearest` in two steps, for queries that come in chunks."""

    def __init__(self, gallery: Tensor) -> None:
        """Take a gallery of (item, dim) vectors of any length; raises ValueError if one is not finite."""
        self.items, self.dim = _checked(gallery, "gallery")
        self.distinct = DistinctVectors.from_vectors(_unit(gallery))
        self._top: Top = self._top_by_products if gallery.is_cuda else self._top_by_faiss

    def search(self, queries: Tensor, k: int, itself: Tensor | None = None, top: Top | None = None) -> Neighbors:
        """Return the k nearest items of each query; see `nearest`.

        Args:
            queries: (query, dim).
            k: how many neighbours.
            itself: (query,) what must not be returned.
            top: another way to the best distinct vectors of (queries, k), such as an approximate one; -1 where it found
                too few, and then the query is searched exactly.
        """
        dim = _checked(queries, "queries")[1]
        available = self.items - (itself is not None)
        if not 1 <= k <= available:
            raise ValueError(f"k = {k} neighbours were asked for, but the gallery offers 1 to {available}")
        if dim != self.dim:
            raise ValueError(f"queries have {dim} dimensions and the gallery {self.dim}; embed both alike")
        wanted = k + (itself is not None)
        scores, indices = self._search(_unit(queries).to(self.distinct.vectors.device), wanted, top or self._top)
        if itself is not None:
            scores, indices = _without(itself.to(indices.device), scores, indices)
        return Neighbors(scores.to(queries.device), indices.to(queries.device))

    def _search(self, queries: Tensor, k: int, top: Top) -> tuple[Tensor, Tensor]:
        # One more than asked for shows whether the last place is tied: which of several equal scores a top-k keeps
        # is left open by every library, so the few tied rows are ranked in full.
        probe = min(k + 1, len(self.distinct.vectors))
        scores, indices, open_ = self.distinct.expand(*top(queries, probe), k)
        if not open_.any():
            return scores, indices
        for rows in open_.nonzero().squeeze(1).split(max(1, FULL_BYTES // (BYTES_A_KEY * self.items))):
            scores[rows], indices[rows] = self._rank_in_full(queries[rows], k)
        return scores, indices

    def _rank_in_full(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best by score, then index: both in one integer, of which no two are equal."""
        scores = queries @ self.distinct.vectors.T
        if len(self.distinct.vectors) < self.items:
            scores = scores[:, self.distinct.group]
        # The bits of a float, read as an integer, are in the order of the floats once negative ones are turned round.
        bits = (scores + 0.0).view(torch.int32)
        bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        behind = torch.arange(self.items - 1, -1, -1, device=bits.device)
        best = ((bits.long() << 32) + behind).topk(k, dim=1).values
        indices = self.items - 1 - (best & 0xFFFFFFFF)
        return scores.gather(1, indices), indices

    def _top_by_faiss(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        vectors = self.distinct.vectors.numpy()
        scores, groups = faiss.knn(queries.numpy(), vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return torch.from_numpy(scores), torch.from_numpy(groups)

    def _top_by_products(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        vectors = self.distinct.vectors
        rows = max(1, GPU_BYTES // (vectors.element_size() * len(vectors)))
        tops = [(chunk @ vectors.T).topk(k, dim=1) for chunk in queries.split(rows)]
        return torch.cat([top.values for top in tops]), torch.cat([top.indices for top in tops])


def _checked(vectors: Tensor, name: str) -> tuple[int, int]:
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"{name} must be a non-empty (item, dim) matrix, not of shape {tuple(vectors.shape)}")
    # The length is not finite if a number is not, nor if their squares overflow, and needs no copy of the vectors.
    bad = (~torch.isfinite(torch.linalg.vector_norm(working_precision(vectors.detach()), dim=1))).nonzero()
    if len(bad):
        raise ValueError(f"{name}: vector {int(bad[0])} is not finite; look for NaN or overflow where it was embedded")
    return len(vectors), vectors.shape[1]


def _unit(vectors: Tensor) -> Tensor:
    return unit(vectors.detach()).float().contiguous()


def _without(itself: Tensor, scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Drop one entry a row: the item itself where it is among those found, else the last."""
    last = indices.shape[1] - 1
    found = indices == itself[:, None]
    place = torch.where(found.any(dim=1), found.byte().argmax(dim=1), last)
    kept = torch.arange(last, device=indices.device)
    kept = kept + (kept >= place[:, None])
    return scores.gather(1, kept), indices.gather(1, kept)
