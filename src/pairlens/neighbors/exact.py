"""Exact nearest-neighbour index by cosine similarity: FAISS on a CPU, chunked matrix products and top-k on a GPU.

It guarantees two things that a plain search does not. An item is excluded by its index, never by its score. Equal scores
are ordered by index: a matrix product may round the same dot product differently at the edge of a tile, so identical
vectors are searched once and returned as a group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pairlens.core.memory import check_space_for_faiss
from pairlens.core.similarity import unit, working_precision
from pairlens.neighbors.duplicates import DistinctVectors

# Largest (query, vector) matrix of scores on a GPU, and of a full ranking.
GPU_BYTES = 2**29
FULL_RANKING_BYTES = 2**28
# What a full ranking holds per score: the score itself, its bits and the 64-bit keys.
BYTES_PER_KEY = 32

# A search of the distinct vectors: (queries, k) to (query, k) scores, best first, and (query, k) vector numbers.
TopSearch: TypeAlias = Callable[[Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest gallery items of each query, best first.

    Attributes:
        scores: (query, rank) cosine similarities.
        indices: (query, rank) int64 indices into the gallery.
    """

    scores: Tensor
    indices: Tensor


def nearest(queries: Tensor, gallery: Tensor, k: int, itself: Tensor | None = None) -> Neighbors:
    """Return the k gallery items most similar to each query; equal scores are ordered by index.

    Args:
        queries: (query, dim); scaled to unit length here.
        gallery: (item, dim); scaled to unit length here.
        k: number of neighbours, at most the number of items (one less with `itself`).
        itself: (query,) gallery index that is the query itself and must not be returned.

    Raises:
        ValueError: if k is out of range, the dimensions differ, or a vector is not finite.

    >>> neighbors = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]]), k=2)
    >>> neighbors.indices
    tensor([[1, 2]])
    """
    return ExactIndex(gallery).search(queries, k, itself)


class ExactIndex:
    """A gallery prepared for many searches: `nearest` in two steps, for queries that come in chunks."""

    def __init__(self, gallery: Tensor) -> None:
        """Prepare a gallery of (item, dim) vectors of any length; raises ValueError if one is not finite."""
        self.items, self.dim = _check_vectors(gallery, "gallery")
        self.distinct = DistinctVectors.from_vectors(_unit(gallery))
        self._top: TopSearch = self._top_by_products if gallery.is_cuda else self._top_by_faiss

    def search(self, queries: Tensor, k: int, itself: Tensor | None = None, top: TopSearch | None = None) -> Neighbors:
        """Return the k nearest items of each query; see `nearest`.

        Args:
            queries: (query, dim).
            k: number of neighbours.
            itself: (query,) gallery index that must not be returned.
            top: another search of the distinct vectors, such as an approximate one. It returns the number -1 where it found
                too few vectors, and then the query is searched exactly.
        """
        _, dim = _check_vectors(queries, "queries")
        available = self.items - (itself is not None)
        if not 1 <= k <= available:
            raise ValueError(f"k = {k} neighbours were requested, but the gallery offers 1 to {available}; change k")
        if dim != self.dim:
            raise ValueError(
                f"queries have {dim} dimensions and the gallery {self.dim}; embed both with the same model"
            )
        # One more than requested, because the item itself is probably among the nearest and is dropped.
        searched = k + (itself is not None)
        scores, indices = self._search(_unit(queries).to(self.distinct.vectors.device), searched, top or self._top)
        if itself is not None:
            scores, indices = _drop(itself.to(indices.device), scores, indices)
        return Neighbors(scores.to(queries.device), indices.to(queries.device))

    def _search(self, queries: Tensor, k: int, top: TopSearch) -> tuple[Tensor, Tensor]:
        # One more than requested shows whether the last rank is tied. Which of several equal scores a top-k returns is
        # undefined in every library, so the few queries with such a tie are ranked in full.
        probe = min(k + 1, len(self.distinct.vectors))
        scores, indices, unresolved = self.distinct.expand(*top(queries, probe), k)
        if not unresolved.any():
            return scores, indices
        rows_at_once = max(1, FULL_RANKING_BYTES // (BYTES_PER_KEY * self.items))
        for rows in unresolved.nonzero().squeeze(1).split(rows_at_once):
            scores[rows], indices[rows] = self._rank_in_full(queries[rows], k)
        return scores, indices

    def _rank_in_full(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best items by score and then index, from a ranking of the whole gallery."""
        scores = queries @ self.distinct.vectors.T  # (query, distinct)
        if not self.distinct.all_unique:
            scores = scores[:, self.distinct.group]  # (query, item)
        # Score and index in one 64-bit key, of which no two are equal, so that any top-k gives the same order. The bits of
        # positive floats, read as integers, are ordered like the floats; those of negative floats in reverse, until all
        # bits but the sign are flipped.
        bits = (scores + 0.0).view(torch.int32)
        ordered_bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        # The lower index gets the larger key: item i has items - 1 - i in its lower 32 bits.
        reversed_index = torch.arange(self.items - 1, -1, -1, device=bits.device)
        best = ((ordered_bits.long() << 32) + reversed_index).topk(k, dim=1).values
        indices = self.items - 1 - (best & 0xFFFFFFFF)
        return scores.gather(1, indices), indices

    def _top_by_faiss(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        # Imported here, because a search on a GPU and the help texts do not need it.
        check_space_for_faiss()
        import faiss

        vectors = self.distinct.vectors.numpy()
        scores, groups = faiss.knn(queries.numpy(), vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return torch.from_numpy(scores), torch.from_numpy(groups)

    def _top_by_products(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        vectors = self.distinct.vectors
        rows_at_once = max(1, GPU_BYTES // (vectors.element_size() * len(vectors)))
        tops = [(chunk @ vectors.T).topk(k, dim=1) for chunk in queries.split(rows_at_once)]
        return torch.cat([top.values for top in tops]), torch.cat([top.indices for top in tops])


def _check_vectors(vectors: Tensor, name: str) -> tuple[int, int]:
    """Return the number of vectors and their dimension; raises ValueError if they are none or not finite."""
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"{name} must be a non-empty (item, dim) matrix, not of shape {tuple(vectors.shape)}")
    # A non-finite norm detects NaN, inf and overflow without a copy of the vectors.
    norms = torch.linalg.vector_norm(working_precision(vectors.detach()), dim=1)
    not_finite = (~torch.isfinite(norms)).nonzero()
    if len(not_finite):
        raise ValueError(
            f"{name}: vector {int(not_finite[0])} is not finite; look for NaN or overflow where it was embedded"
        )
    return len(vectors), vectors.shape[1]


def _unit(vectors: Tensor) -> Tensor:
    return unit(vectors.detach()).float().contiguous()


def _drop(itself: Tensor, scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Drop one entry of each row: the item itself if it is among the neighbours, otherwise the last."""
    last = indices.shape[1] - 1
    is_itself = indices == itself[:, None]  # (query, rank)
    dropped = torch.where(is_itself.any(dim=1), is_itself.byte().argmax(dim=1), last)  # (query,) rank
    ranks = torch.arange(last, device=indices.device)
    remaining = ranks + (ranks >= dropped[:, None])  # (query, rank), skipping the dropped one
    return scores.gather(1, remaining), indices.gather(1, remaining)
