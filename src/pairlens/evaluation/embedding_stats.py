"""The shape of a set of embedded photos in numbers, and of what the loss does to it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.evaluation import geometry
from pairlens.evaluation.geometry import PairSimilarities
from pairlens.losses.pair_gradient import pair_gradient, similarity_measure
from pairlens.losses.protocols import is_embedding_loss, possible_sources

WEIGHED = 512


@dataclass(frozen=True)
class EmbeddingStats:
    """The shape of one set of embedded photos; what cannot be said of it is None.

    Attributes:
        photos: how many there are.
        classes: how many classes.
        mean_s_p: mean cosine of positive pairs.
        mean_s_n: mean cosine of negative pairs.
        overlap: shared area of their histograms.
        d_prime: distance of their means in deviations.
        auc: probability that a positive pair is the more similar.
        tpr: share of positive pairs above all but a thousandth of the negative ones.
        alignment: mean squared distance of positive pairs.
        uniformity: log mean e^{-2 d²} of all pairs.
        pi_intra: mean cosine distance within classes.
        pi_inter: mean cosine distance of class means.
        pi_ratio: the one over the other.
        rho: spectral decay.
        effective_rank: dimensions in use.
        hub_skewness: skewness of the 10-occurrence.
        hub_never: share of photos that are nobody's neighbour.
        hub_bad: share of neighbours of another class.
        circle_pass: share of photos whose hardest pairs lie within the circle of margin 0.25.
        hardest_1_percent: share of the loss's weight on the hardest 1 % of pairs.
        effective_pairs: (Σ w)² / Σ w² over the number of pairs.
        wrong_signs: share of pairs that the loss pushes the wrong way.
    """

    photos: int
    classes: int
    mean_s_p: float
    mean_s_n: float
    overlap: float
    d_prime: float
    auc: float
    tpr: float
    alignment: float
    uniformity: float
    pi_intra: float
    pi_inter: float
    pi_ratio: float
    rho: float
    effective_rank: float
    hub_skewness: float
    hub_never: float
    hub_bad: float
    circle_pass: float
    hardest_1_percent: float | None
    effective_pairs: float | None
    wrong_signs: float | None


def embedding_stats(vectors: Tensor, labels: Tensor, loss: Any = None) -> EmbeddingStats:
    """Return the shape of (photo, dim) unit vectors of at least two classes, one with two photos or more.

    Args:
        vectors: unit vectors.
        labels: (photo,) integers.
        loss: whose weights are looked at on the first 512 photos; left out if it sees more than the pairs of a batch.
    """
    s = PairSimilarities.of(vectors, labels)
    if not len(s.positive) or not len(s.negative):
        raise ValueError("these photos have no positive or no negative pair; inspect a set with several photos a class")
    intra, inter = geometry.class_spread(vectors, labels)
    hubs = geometry.hubness(vectors, labels)
    weights = _weights(vectors[:WEIGHED], labels[:WEIGHED], loss)
    return EmbeddingStats(
        photos=len(vectors),
        classes=len(labels.unique()),
        mean_s_p=float(s.positive.mean()),
        mean_s_n=float(s.negative.mean()),
        overlap=geometry.histogram_overlap(s),
        d_prime=geometry.d_prime(s),
        auc=geometry.roc_auc(s),
        tpr=geometry.true_positive_rate(s),
        alignment=geometry.alignment(s),
        uniformity=geometry.uniformity(s),
        pi_intra=intra,
        pi_inter=inter,
        pi_ratio=intra / max(inter, 1e-12),
        rho=geometry.spectral_decay(vectors),
        effective_rank=geometry.effective_rank(vectors),
        hub_skewness=hubs.skewness,
        hub_never=hubs.never,
        hub_bad=hubs.bad,
        circle_pass=geometry.circle_pass_rate(vectors, labels),
        hardest_1_percent=weights.hardest if weights else None,
        effective_pairs=weights.effective if weights else None,
        wrong_signs=weights.wrong if weights else None,
    )


def _weights(vectors: Tensor, labels: Tensor, loss: Any) -> geometry.WeightShare | None:
    pairs = Pairs.within(labels)
    of_pairs = loss is not None and not is_embedding_loss(loss) and "batch" in possible_sources(loss)
    if not of_pairs or not bool(pairs.complete.any()):
        return None
    gradient = pair_gradient(similarity_measure(loss), (vectors @ vectors.T).double(), pairs)
    return geometry.weight_share(gradient, pairs)


def embedding_stats_or_none(vectors: Tensor | None, labels: Tensor | None, loss: Any) -> EmbeddingStats | None:
    """Return the shape of photos as `embedding_stats` does; None if there are none, or no pairs among them."""
    if vectors is None or labels is None or not _has_pairs(labels):
        return None
    return embedding_stats(unit(vectors), labels, loss)


def _has_pairs(labels: Tensor) -> bool:
    counts = labels.unique(return_counts=True)[1]
    return len(counts) > 1 and bool((counts > 1).any())


def whole_classes(labels: Tensor, most: int) -> Tensor:
    """Return the positions of photos of whole classes, drawn in an order that never changes, about `most` of them.

    >>> whole_classes(torch.tensor([0, 0, 1, 1, 2, 2]), 4).tolist()
    [0, 1, 4, 5]
    """
    known, number, counts = labels.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    taken = order[: max(2, int((counts[order].cumsum(0) <= most).sum()))]
    return torch.isin(number, taken).nonzero().squeeze(1)
