"""Exact nearest neighbours by cosine similarity: FAISS on the CPU, chunked product and top-k on a GPU.

Two promises that raw search does not make: an item is excluded by its index and never by its score, and equal scores
come in the order of their indices. For the second, identical vectors are searched once and given back as a group,
because a matrix product may round the same dot product differently at the edge of a tile.
"""

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from torch import Tensor

from pairlens.core.similarity import unit

GPU_CHUNK = 4096


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
        vectors = _checked(gallery, "gallery")
        self.items, self.dim = vectors.shape
        self._distinct, self._group = _distinct(vectors)
        self._members = torch.argsort(self._group, stable=True)
        self._counts = torch.bincount(self._group, minlength=len(self._distinct))
        self._faiss = None if vectors.is_cuda else _faiss_index(self._distinct)

    def search(self, queries: Tensor, k: int, itself: Tensor | None = None) -> Neighbors:
        """Return the k nearest items of each query; see `nearest`."""
        vectors = _checked(queries, "queries")
        available = self.items - (itself is not None)
        if not 1 <= k <= available:
            raise ValueError(f"k = {k} neighbours were asked for, but the gallery offers 1 to {available}")
        if vectors.shape[1] != self.dim:
            raise ValueError(f"queries have {vectors.shape[1]} dimensions and the gallery {self.dim}; embed both alike")
        wanted = k + (itself is not None)
        scores, indices = self._search(vectors, wanted)
        if itself is not None:
            scores, indices = _without(itself.to(indices.device), scores, indices)
        return Neighbors(scores.to(queries.device), indices.to(queries.device))

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        # One more than asked for shows whether the last place is tied: which of several equal scores a top-k keeps
        # is left open by every library, so the few tied rows are ranked in full.
        probe = min(k + 1, len(self._distinct))
        top, groups = self._top(queries, probe)
        equal = top[:, 1:] == top[:, :-1]
        tied = equal.any(dim=1) if len(self._distinct) < self.items else equal[:, k - 1 :].any(dim=1)
        scores, indices = self._members_of(top, groups, k)
        for rows in tied.nonzero().squeeze(1).split(256):
            ranked = (queries[rows] @ self._distinct.T)[:, self._group].sort(dim=1, descending=True, stable=True)
            scores[rows], indices[rows] = ranked.values[:, :k], ranked.indices[:, :k]
        return scores, indices

    def _top(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if self._faiss is not None:
            scores, groups = self._faiss.search(queries.numpy(), k)  # pyright: ignore[reportCallIssue]
            return torch.from_numpy(scores), torch.from_numpy(groups)
        tops = [(chunk @ self._distinct.T).topk(k, dim=1) for chunk in queries.split(GPU_CHUNK)]
        return torch.cat([top.values for top in tops]), torch.cat([top.indices for top in tops])

    def _members_of(self, scores: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Unfold groups of identical vectors into their members, best first, equal scores by index."""
        if len(self._distinct) == self.items:
            return _by_score_then_index(scores[:, :k], groups[:, :k])
        starts = self._counts.cumsum(0) - self._counts
        ends = self._counts[groups].cumsum(1)
        place = torch.arange(k, device=ends.device).expand(len(ends), k).contiguous()
        rank = torch.searchsorted(ends, place, right=True)
        group = groups.gather(1, rank)
        within = place - (ends.gather(1, rank) - self._counts[group])
        return _by_score_then_index(scores.gather(1, rank), self._members[starts[group] + within])


def _checked(vectors: Tensor, name: str) -> Tensor:
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"{name} must be a non-empty (item, dim) matrix, not of shape {tuple(vectors.shape)}")
    bad = (~torch.isfinite(vectors).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(f"{name}: vector {int(bad[0])} is not finite; look for NaN or overflow where it was embedded")
    return unit(vectors.detach()).float().contiguous()


def _distinct(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows in order of first appearance and, for each row, the number of its distinct row."""
    rows = (vectors + 0.0).cpu().numpy()
    keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return vectors, torch.arange(len(rows), device=vectors.device)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    group = torch.from_numpy(number[inverse]).to(vectors.device)
    return vectors[torch.from_numpy(first[order]).to(vectors.device)], group


def _faiss_index(vectors: Tensor) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors.numpy())  # pyright: ignore[reportCallIssue]
    return index


def _by_score_then_index(scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    indices, order = indices.sort(dim=1)
    scores, back = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, indices.gather(1, back)


def _without(itself: Tensor, scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Drop one entry a row: the item itself where it is among those found, else the last."""
    found = indices == itself[:, None]
    found[:, -1] |= ~found.any(dim=1)
    kept = (~found).nonzero(as_tuple=True)
    shape = (len(indices), indices.shape[1] - 1)
    return scores[kept].view(shape), indices[kept].view(shape)
