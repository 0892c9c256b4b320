"""Retrieval metrics, each a pure function of which neighbours are right; one value a query."""

import torch
from torch import Tensor


def recall_at_k(hits: Tensor, k: int) -> Tensor:
    """Return 1 for each query that has a right item among its k nearest, else 0 (also called CMC@k).

    Args:
        hits: (query, rank) boolean, True where the neighbour of that rank has the query's class.
        k: number of neighbours looked at.

    >>> recall_at_k(torch.tensor([[False, True, False]]), 2)
    tensor([1.])
    """
    return hits[:, :k].any(dim=1).float()


def precision_at_k(hits: Tensor, k: int) -> Tensor:
    """Return the share of the k nearest items that are right.

    >>> precision_at_k(torch.tensor([[False, True, False, False]]), 4)
    tensor([0.2500])
    """
    return hits[:, :k].sum(dim=1) / k


def r_precision(hits: Tensor, relevant: Tensor) -> Tensor:
    """Return the share of the R nearest items that are right, R being the number of right items there are.

    Args:
        hits: (query, rank) boolean with at least max R ranks.
        relevant: (query,) R, at least 1.

    >>> r_precision(torch.tensor([[False, True, True]]), torch.tensor([2]))
    tensor([0.5000])
    """
    return _up_to(hits, relevant).sum(dim=1) / relevant


def map_at_r(hits: Tensor, relevant: Tensor) -> Tensor:
    """Return MAP@R = (1/R) Σ_{i ≤ R} P(i) [item i is right], with P(i) the precision at i.

    Source: Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020, arXiv 2003.08505, section 3.2.

    Args:
        hits: (query, rank) boolean with at least max R ranks.
        relevant: (query,) R, at least 1.

    >>> map_at_r(torch.tensor([[False, True, True]]), torch.tensor([2]))
    tensor([0.2500])
    """
    counted = _up_to(hits, relevant)
    precision = counted.cumsum(dim=1) / torch.arange(1, hits.shape[1] + 1, device=hits.device)
    return (precision * counted).sum(dim=1) / relevant


def mean_similarities(vectors: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean cosine of all positive and of all negative pairs of unit vectors; NaN where there are none.

    No matrix of pairs is made: the sum over all pairs of a set is the squared length of the sum of its vectors.

    Args:
        vectors: (photo, dim) unit vectors.
        labels: (photo,) integers.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> [round(mean, 2) for mean in mean_similarities(vectors, torch.tensor([0, 0, 1]))]
    [0.6, 0.4]
    """
    vectors = vectors.double()
    _, number, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, number, vectors)
    themselves = vectors.square().sum()
    same = sums.square().sum() - themselves
    different = sums.sum(dim=0).square().sum() - same - themselves
    same_pairs = (counts * (counts - 1)).sum()
    different_pairs = len(vectors) * (len(vectors) - 1) - same_pairs
    return float(same / same_pairs), float(different / different_pairs)


def _up_to(hits: Tensor, relevant: Tensor) -> Tensor:
    return hits & (torch.arange(hits.shape[1], device=hits.device) < relevant[:, None])
