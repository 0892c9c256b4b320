"""Exact nearest-neighbour index by cosine similarity: FAISS on a CPU, chunked matrix products and top-k on a GPU.

It guarantees two things that a plain search does not. An item is excluded by its index, never by its score. Equal scores
are ordered by index: a matrix product may round the same dot product differently at the edge of a tile, so identical
vectors are searched once and returned as a group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsIndex, TypeAlias

import torch
from torch import Tensor

from pairlens.core.inputs import Numbers, as_labels, as_vectors, as_whole_number, not_finite_words
from pairlens.core.memory import check_space_for_faiss
from pairlens.core.similarity import unit
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


def nearest(queries: Numbers, gallery: Numbers, k: SupportsIndex, itself: Numbers | None = None) -> Neighbors:
    """Return the k gallery items most similar to each query; equal scores are ordered by index.

    Args:
        queries: (query, dim) tensor, array or nested lists; scaled to unit length here. No query has no neighbours, (0, k).
        gallery: (item, dim), given in the same way; scaled to unit length here.
        k: number of neighbours, at most the number of items (one less with `itself`).
        itself: (query,) gallery index that is the query itself and must not be returned.

    Raises:
        ValueError: if k is out of range, the gallery is empty, the dimensions differ, a vector is not finite, or an argument
            is nothing that can be read as vectors or as whole numbers.

    >>> neighbors = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]]), k=2)
    >>> neighbors.indices
    tensor([[1, 2]])
    """
    return ExactIndex(gallery).search(queries, k, itself)


class ExactIndex:
    """A gallery prepared for many searches: `nearest` in two steps, for queries that come in chunks."""

    def __init__(self, gallery: Numbers) -> None:
        """Prepare a gallery of (item, dim) vectors of any length; raises ValueError if it is empty or not finite."""
        vectors = _checked_vectors(gallery, "gallery")
        if not len(vectors):
            raise ValueError("gallery is empty, so there is nothing to search; give at least one vector")
        self.items, self.dim = vectors.shape
        self.distinct = DistinctVectors.from_vectors(_unit(vectors))
        self._top: TopSearch = self._top_by_products if vectors.is_cuda else self._top_by_faiss

    def search(
        self, queries: Numbers, k: SupportsIndex, itself: Numbers | None = None, top: TopSearch | None = None
    ) -> Neighbors:
        """Return the k nearest items of each query; see `nearest`.

        Args:
            queries: (query, dim).
            k: number of neighbours.
            itself: (query,) gallery index that must not be returned.
            top: another search of the distinct vectors, such as an approximate one. It returns the number -1 where it found
                too few vectors, and then the query is searched exactly.
        """
        vectors = _checked_vectors(queries, "queries")
        k = as_whole_number(k, "k")
        available = self.items - (itself is not None)
        if not 1 <= k <= available:
            raise ValueError(f"k = {k} neighbours were requested, but the gallery offers 1 to {available}; change k")
        if vectors.shape[1] != self.dim:
            raise ValueError(
                f"queries have {vectors.shape[1]} dimensions and the gallery {self.dim}; embed both with the same model"
            )
        excluded = None if itself is None else self._checked_itself(itself, len(vectors))
        if not len(vectors):
            return Neighbors(vectors.new_zeros(0, k, dtype=torch.float32), vectors.new_zeros(0, k, dtype=torch.int64))
        # One more than requested, because the item itself is probably among the nearest and is dropped.
        searched = k + (excluded is not None)
        scores, indices = self._search(_unit(vectors).to(self.distinct.vectors.device), searched, top or self._top)
        if excluded is not None:
            scores, indices = _drop(excluded.to(indices.device), scores, indices)
        return Neighbors(scores.to(vectors.device), indices.to(vectors.device))

    def _checked_itself(self, itself: Numbers, queries: int) -> Tensor:
        """Return the (query,) gallery indices of the queries themselves."""
        positions = as_labels(itself, "itself")
        in_gallery = not len(positions) or 0 <= int(positions.min()) <= int(positions.max()) < self.items
        if len(positions) != queries or not in_gallery:
            raise ValueError(
                f"itself must hold one index of the gallery, 0 to {self.items - 1}, for each of the {queries} queries"
            )
        return positions

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


def _checked_vectors(values: Numbers, name: str) -> Tensor:
    """Return (item, dim) vectors; raises ValueError if one is not finite."""
    vectors = as_vectors(values, name)
    words = not_finite_words(vectors, f"{name}: vector {{}}")
    if words is not None:
        raise ValueError(f"{words}; look for NaN or overflow where it was embedded")
    return vectors


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
