"""Retrieval metrics, each a pure function of which neighbours are right; one value a query."""

import torch
from torch import Tensor

ROWS_AT_ONCE = 8192


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
    precision = counted.cumsum(dim=1) / torch.arange(1, counted.shape[1] + 1, device=hits.device)
    return (precision * counted).sum(dim=1) / relevant


def mean_similarities(
    vectors: Tensor, labels: Tensor, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> tuple[float, float]:
    """Return the mean cosine of all positive and of all negative pairs of unit vectors; NaN where there are none.

    No matrix of pairs is made: the sum over the pairs of two sets is the product of their sums of vectors.

    Args:
        vectors: (photo, dim) unit vectors.
        labels: (photo,) integers.
        gallery: (item, dim) unit vectors; without them, the vectors are paired with each other and not with themselves.
        gallery_labels: (item,) integers, given with `gallery`.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> [round(mean, 2) for mean in mean_similarities(vectors, torch.tensor([0, 0, 1]))]
    [0.6, 0.4]
    """
    one_set = gallery is None or gallery_labels is None
    items, item_labels = (vectors, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    known = torch.cat([labels, item_labels]).unique()
    sums, counts = _sum_by_class(vectors, labels, known)
    item_sums, item_counts = _sum_by_class(items, item_labels, known)
    themselves = sum(part.double().square().sum() for part in vectors.split(ROWS_AT_ONCE)) if one_set else 0.0
    same = (sums * item_sums).sum() - themselves
    different = sums.sum(dim=0) @ item_sums.sum(dim=0) - same - themselves
    alone = len(vectors) if one_set else 0
    same_pairs = (counts * item_counts).sum() - alone
    different_pairs = len(vectors) * len(items) - same_pairs - alone
    return float(same / same_pairs), float(different / different_pairs)


def _sum_by_class(vectors: Tensor, labels: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    number = torch.searchsorted(known, labels)
    sums = vectors.new_zeros(len(known), vectors.shape[1], dtype=torch.float64)
    for some, of in zip(vectors.split(ROWS_AT_ONCE), number.split(ROWS_AT_ONCE), strict=True):
        sums.index_add_(0, of, some.double())
    return sums, torch.bincount(number, minlength=len(known))


def _up_to(hits: Tensor, relevant: Tensor) -> Tensor:
    """Keep the hits among the R first; ranks beyond the largest R are cut off."""
    hits = hits[:, : int(relevant.max())]
    return hits & (torch.arange(hits.shape[1], device=hits.device) < relevant[:, None])
