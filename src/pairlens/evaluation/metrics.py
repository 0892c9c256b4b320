"""Retrieval metrics: pure functions of which neighbours are relevant, with one value per query."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from pairlens.core.suggestion import suggest

# Vectors are converted to float64 in chunks of this size.
ROWS_PER_CHUNK = 8192


def recall_at_k(hits: Tensor, k: int) -> Tensor:
    """Return 1 for each query that has a relevant item among its k nearest items, else 0 (also called CMC@k).

    Args:
        hits: (query, rank) boolean, True where the neighbour of that rank has the query's class.
        k: number of neighbours that count.

    >>> recall_at_k(torch.tensor([[False, True, False]]), 2)
    tensor([1.])
    """
    return hits[:, :k].any(dim=1).float()


def precision_at_k(hits: Tensor, k: int) -> Tensor:
    """Return the share of relevant items among the k nearest items; with fewer than k items the others count as misses.

    >>> precision_at_k(torch.tensor([[False, True, False, False]]), 4)
    tensor([0.2500])
    """
    return hits[:, :k].sum(dim=1) / k


def r_precision(hits: Tensor, relevant: Tensor) -> Tensor:
    """Return the share of relevant items among the R nearest items, where R is the number of relevant items.

    Args:
        hits: (query, rank) boolean with at least max R ranks.
        relevant: (query,) R, at least 1.

    >>> r_precision(torch.tensor([[False, True, True]]), torch.tensor([2]))
    tensor([0.5000])
    """
    return _hits_within_r(hits, relevant).sum(dim=1) / relevant


def map_at_r(hits: Tensor, relevant: Tensor) -> Tensor:
    """Return MAP@R = (1/R) Σ_{i ≤ R} P(i) [item i is relevant], where P(i) is the precision at i.

    Source: Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020, arXiv 2003.08505, section 3.2.

    Args:
        hits: (query, rank) boolean with at least max R ranks.
        relevant: (query,) R, at least 1.

    >>> map_at_r(torch.tensor([[False, True, True]]), torch.tensor([2]))
    tensor([0.2500])
    """
    within_r = _hits_within_r(hits, relevant)  # (query, rank)
    ranks = torch.arange(1, within_r.shape[1] + 1, device=hits.device)
    precision = within_r.cumsum(dim=1) / ranks
    return (precision * within_r).sum(dim=1) / relevant


def map_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Return AP@k = (1/min(k, R)) Σ_{i ≤ k} P(i) [item i is relevant], whose mean over the queries is mAP@k.

    With min(k, R) in the denominator a perfect ranking has the value 1 for every k. For k = R it is MAP@R.
    Source: Weyand et al., "Google Landmarks Dataset v2", CVPR 2020, arXiv 2004.01804 (there with k = 100).

    Args:
        hits: (query, rank) boolean with at least k ranks, or all ranks if there are fewer items.
        relevant: (query,) R, at least 1.
        k: number of neighbours that count.

    >>> map_at_k(torch.tensor([[False, True, True]]), torch.tensor([5]), 2)
    tensor([0.2500])
    """
    within_k = hits[:, :k]  # (query, rank)
    ranks = torch.arange(1, within_k.shape[1] + 1, device=hits.device)
    precision = within_k.cumsum(dim=1) / ranks
    return (precision * within_k).sum(dim=1) / relevant.clamp(max=k)


def reciprocal_rank(hits: Tensor) -> Tensor:
    """Return 1 / (rank of the first relevant item), whose mean over the queries is MRR.

    Source: Voorhees, "The TREC-8 Question Answering Track Report", 1999.

    Args:
        hits: (query, rank) boolean, with a relevant item in each row.

    >>> reciprocal_rank(torch.tensor([[False, True, True], [True, False, False]]))
    tensor([0.5000, 1.0000])
    """
    # `argmax` returns the first of equal values.
    return 1 / (hits.byte().argmax(dim=1) + 1)


def mean_similarities(
    vectors: Tensor, labels: Tensor, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> tuple[float, float]:
    """Return the mean cosine of all positive and of all negative pairs of unit vectors; NaN if there is no such pair.

    No matrix of pairs is computed: the sum of x·y over all pairs of two sets is the product of the sums of their vectors.

    Args:
        vectors: (photo, dim) unit vectors.
        labels: (photo,) integers.
        gallery: (item, dim) unit vectors. Without a gallery the photos are paired with each other, but not with themselves.
        gallery_labels: (item,) integers, given with `gallery`.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> [round(mean, 2) for mean in mean_similarities(vectors, torch.tensor([0, 0, 1]))]
    [0.6, 0.4]
    """
    one_set = gallery is None or gallery_labels is None
    items, item_labels = (vectors, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    classes = torch.cat([labels, item_labels]).unique()
    sums, counts = _sum_by_class(vectors, labels, classes)
    item_sums, item_counts = _sum_by_class(items, item_labels, classes)
    # Within one set the products contain the pair of each photo with itself, which is no pair.
    self_sum = sum(part.double().square().sum() for part in vectors.split(ROWS_PER_CHUNK)) if one_set else 0.0
    self_pairs = len(vectors) if one_set else 0
    same = (sums * item_sums).sum() - self_sum
    different = sums.sum(dim=0) @ item_sums.sum(dim=0) - same - self_sum
    same_pairs = (counts * item_counts).sum() - self_pairs
    different_pairs = len(vectors) * len(items) - same_pairs - self_pairs
    return float(same / same_pairs), float(different / different_pairs)


def _sum_by_class(vectors: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (class, dim) sums of the vectors in float64 and the (class,) numbers of photos, for sorted classes."""
    position = torch.searchsorted(classes, labels)  # (photo,)
    sums = vectors.new_zeros(len(classes), vectors.shape[1], dtype=torch.float64)
    # In chunks, so that a large set is never copied to float64 as a whole.
    for part, of_part in zip(vectors.split(ROWS_PER_CHUNK), position.split(ROWS_PER_CHUNK), strict=True):
        sums.index_add_(0, of_part, part.double())
    return sums, torch.bincount(position, minlength=len(classes))


def _hits_within_r(hits: Tensor, relevant: Tensor) -> Tensor:
    """Return the hits at ranks up to each query's R; ranks beyond the largest R are cut off."""
    cut = hits[:, : int(relevant.max())]
    # (rank,) < (query, 1) broadcasts to (query, rank).
    return cut & (torch.arange(cut.shape[1], device=hits.device) < relevant[:, None])


def suggest_metric(name: str, measured: Sequence[str]) -> str:
    """Return the end of a sentence about a metric that was not measured: which one was probably meant, or all of them.

    >>> suggest_metric("mapr", ["R@1", "MAP@R"])
    'did you mean MAP@R?'
    >>> suggest_metric("R@3", ["R@1", "MAP@R"])
    'available are R@1, MAP@R'
    """
    # R@3 is not a misspelt R@1, but another metric.
    is_other_rank = re.fullmatch(r"[RP]@\d+", name) is not None
    return f"available are {', '.join(measured)}" if is_other_rank else suggest(name, measured)
