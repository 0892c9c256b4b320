"""Post-processing of embeddings before or after a search: PCA whitening, query expansion and re-ranking.

None of it is part of an evaluation by default, because a figure with it is about another system than one without.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairlens.core.records import require
from pairlens.core.similarity import unit
from pairlens.neighbors.exact import ExactIndex

# Components with less variance than this share of the largest one are rounding.
LEAST_VARIANCE = 1e-6
# Largest (query, item) matrix of similarities that is held in memory.
MAX_SCORES = 1 << 28


@dataclass(frozen=True, eq=False)
class Projection:
    """A map of vectors that was fitted to the training photos: x ↦ (x − μ) W, scaled to unit length.

    Attributes:
        mean: (dim,) μ.
        matrix: (dim, component) W.
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return (item, component) unit vectors of (item, dim) vectors."""
        return unit((vectors - self.mean) @ self.matrix)


def fit_pca(vectors: Tensor, components: int | None = None, whiten: bool = True) -> Projection:
    """Return the principal components of training vectors, each divided by its standard deviation if they are whitened.

    With the eigenvectors V and the eigenvalues λ of the covariance of the training vectors, in decreasing order,
    W = V diag(λ)^(−1/2), or W = V without whitening.

    Source: Jégou, Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening", 2012.

    Args:
        vectors: (photo, dim) embeddings of training photos, of no test class.
        components: how many components are kept; by default all that are not rounding.
        whiten: whether each component gets unit variance.

    Raises:
        ValueError: if the vectors have fewer components, or none because they are all the same.

    >>> corners = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])
    >>> fit_pca(corners)(torch.tensor([[3.0, 1.0]])).abs()
    tensor([[0.7071, 0.7071]])
    """
    exact = vectors.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(vectors) - 1))
    # `eigh` returns ascending eigenvalues.
    variances, directions = variances.flip(0), directions.flip(1)
    known = int((variances > LEAST_VARIANCE * variances[0]).sum()) if variances[0] > 0 else 0
    require(known > 0, f"the {len(vectors)} training vectors are all the same, so they have no principal components")
    kept = known if components is None else components
    require(
        1 <= kept <= known,
        f"--reduce {kept} is not possible: {len(vectors)} training vectors of {vectors.shape[1]} dimensions have {known} "
        f"components; use 1 to {known}",
    )
    matrix = directions[:, :kept] / (variances[:kept].sqrt() if whiten else 1.0)
    return Projection(mean.float(), matrix.float())


def expand_queries(queries: Tensor, items: Tensor | None = None, *, k: int = 10, alpha: float = 3.0) -> Tensor:
    """Return each query plus its k nearest items, weighted by their similarity: q + Σᵢ max(sᵢ, 0)^α xᵢ, of unit length.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2017, arXiv 1711.02512,
    section 3.4.

    Args:
        queries: (query, dim) unit vectors.
        items: (item, dim) unit vectors in which they are searched; None searches the queries among themselves, each
            without itself.
        k: number of neighbours.
        alpha: the power; the larger, the less do far neighbours count.

    >>> expand_queries(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]]), k=1, alpha=1.0)
    tensor([[0.9430, 0.3328]])
    """
    pool = queries if items is None else items
    itself = torch.arange(len(queries)) if items is None else None
    count = min(k, len(pool) - (items is None))
    require(count >= 1, "there is no other photo by which a query could be expanded")
    found = ExactIndex(pool).search(queries, count, itself)
    weights = found.scores.clamp(min=0).pow(alpha)  # (query, rank)
    # One rank after the other, because (query, rank, dim) may not fit into memory.
    expanded = queries.clone()
    for rank in range(count):
        expanded += weights[:, rank, None] * pool[found.indices[:, rank]]
    return unit(expanded)


def rerank(queries: Tensor, items: Tensor | None = None, *, k1: int = 20, k2: int = 6, weight: float = 0.3) -> Tensor:
    """Return similarities of queries and items after k-reciprocal re-ranking.

    With the distance d = 1 − cosine among queries and items together, and N(p, k) the k nearest of p, itself included:

    - R(p, k) = {g ∈ N(p, k + 1): p ∈ N(g, k + 1)}; R*(p) is R(p, k1), united with R(q, k1 / 2) of each of its members q of
      which at least two thirds lie in R(p, k1);
    - V(p, g) = e^(−d(p, g)) for g ∈ R*(p), scaled to sum 1, then averaged over the vectors of N(p, k2);
    - J(p, g) = 1 − Σ min(V(p), V(g)) / Σ max(V(p), V(g)); the result is 1 − ((1 − weight) J + weight d).

    Source: Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017, arXiv 1701.08398.

    Args:
        queries: (query, dim) unit vectors.
        items: (item, dim) unit vectors; None ranks the queries among themselves.
        k1: number of neighbours that are encoded.
        k2: number of vectors that are averaged.
        weight: weight of the original distance.

    Shapes:
        result: float32 (query, item).

    Raises:
        ValueError: if the result would be too large.

    >>> vectors = unit(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]))
    >>> rerank(vectors, k1=1, k2=1).argsort(dim=1, descending=True, stable=True)[:, :2].sort(dim=1).values.tolist()
    [[0, 1], [0, 1], [2, 3], [2, 3]]
    """
    check_scores(len(queries), len(queries if items is None else items))
    everything = queries if items is None else torch.cat([queries, items])
    count = len(everything)
    ranks = ExactIndex(everything).search(everything, min(max(k1 + 1, k2), count)).indices.numpy()
    encoded = _average(_encode(everything.numpy(), ranks, k1), ranks[:, :k2])
    first_item = 0 if items is None else len(queries)
    jaccard = _jaccard(encoded[: len(queries)], encoded[first_item:])
    cosine = queries @ everything[first_item:].T
    return 1 - ((1 - weight) * torch.from_numpy(jaccard) + weight * (1 - cosine))


def check_scores(queries: int, items: int) -> None:
    """Raise ValueError if a matrix of the similarities of all queries and items would be too large."""
    require(
        queries * items <= MAX_SCORES,
        f"query expansion and re-ranking hold all similarities of {queries:,} queries and {items:,} items in memory, which "
        f"are more than {MAX_SCORES:,}; leave them out",
    )


def _reciprocal(ranks: np.ndarray, photo: int, k: int) -> np.ndarray:
    """Return the neighbours of a photo that have it among their own k nearest beside themselves."""
    forward = ranks[photo, : k + 1]
    return forward[(ranks[forward, : k + 1] == photo).any(axis=1)]


def _encode(vectors: np.ndarray, ranks: np.ndarray, k1: int) -> Any:
    """Return V before the average, a sparse matrix (photo, photo)."""
    # Imported in the functions, because SciPy takes long to import and few evaluations re-rank.
    from scipy import sparse

    half = round(k1 / 2)
    rows, columns, values = [], [], []
    halves = [_reciprocal(ranks, photo, half) for photo in range(len(ranks))]
    for photo in range(len(ranks)):
        near = _reciprocal(ranks, photo, k1)
        joined = [near]
        joined += [halves[q] for q in near if np.isin(halves[q], near).sum() >= 2 / 3 * len(halves[q])]
        members = np.unique(np.concatenate(joined))
        similar = np.exp(vectors[members] @ vectors[photo] - 1)
        rows.append(np.full(len(members), photo))
        columns.append(members)
        values.append(similar / similar.sum())
    placed = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(placed, shape=(len(ranks), len(ranks)), dtype=np.float32)


def _average(encoded: Any, ranks: np.ndarray) -> Any:
    """Return the mean of the rows of the nearest photos of each photo, again as a sparse matrix."""
    from scipy import sparse

    photos, k = ranks.shape
    chooses = (np.full(photos * k, 1 / k, np.float32), (np.repeat(np.arange(photos), k), ranks.reshape(-1)))
    return sparse.csr_matrix(sparse.csr_matrix(chooses, shape=(photos, photos)) @ encoded)


def _jaccard(queries: Any, items: Any) -> np.ndarray:
    """Return (query, item) Jaccard distances of two sparse matrices whose rows sum to 1."""
    by_column = items.tocsc()
    distances = np.empty((queries.shape[0], items.shape[0]), np.float32)
    for query in range(queries.shape[0]):
        own = slice(queries.indptr[query], queries.indptr[query + 1])
        shared = np.zeros(items.shape[0], np.float32)
        for column, value in zip(queries.indices[own], queries.data[own], strict=True):
            others = slice(by_column.indptr[column], by_column.indptr[column + 1])
            shared[by_column.indices[others]] += np.minimum(by_column.data[others], value)
        # Both rows sum to 1, so the sum of their maxima is 2 minus that of their minima.
        distances[query] = 1 - shared / (2 - shared)
    return distances
