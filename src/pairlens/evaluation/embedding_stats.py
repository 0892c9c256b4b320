"""Statistics of a set of embedded photos, and of the weights that a loss gives to its pairs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.evaluation import geometry
from pairlens.evaluation.geometry import PairSimilarities
from pairlens.losses.pair_gradient import pair_gradient, similarity_measure
from pairlens.losses.protocols import has_batch_weights

# The weights of a loss are measured on the (512, 512) similarities of the first photos.
MAX_WEIGHTED_PHOTOS = 512


@dataclass(frozen=True)
class EmbeddingStats:
    """Statistics of one set of embedded photos.

    Attributes:
        photos: number of photos.
        classes: number of classes.
        mean_s_p: mean cosine of the positive pairs.
        mean_s_n: mean cosine of the negative pairs.
        overlap: area that the histograms of the positive and of the negative pairs share.
        d_prime: difference of both means in standard deviations.
        auc: probability that a positive pair is more similar than a negative pair.
        tpr: share of positive pairs above the threshold that one negative pair of 1,000 exceeds.
        alignment: mean squared distance of the positive pairs.
        uniformity: log mean e^{-2 d²} over all pairs.
        pi_intra: mean cosine distance within the classes.
        pi_inter: mean cosine distance between the class means.
        pi_ratio: pi_intra / pi_inter.
        rho: spectral decay.
        effective_rank: number of dimensions in use.
        hub_skewness: skewness of the 10-occurrence N_10.
        hub_never: share of photos that are among the 10 nearest neighbours of no other photo.
        hub_bad: share of neighbours that have another class.
        circle_pass: share of photos whose hardest pairs lie within the circle of margin 0.25.
        hardest_1_percent: share of the weight of the loss on the hardest 1 % of the pairs; None without a loss of pairs.
        effective_pairs: (Σ w)² / Σ w² over the number of pairs; None without a loss of pairs.
        wrong_signs: share of the pairs that the loss pushes in the wrong direction; None without a loss of pairs.
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
    """Return the statistics of a set of at least two classes, of which at least one has several photos.

    Args:
        vectors: (photo, dim) unit vectors.
        labels: (photo,) integers.
        loss: the loss whose weights are measured on the first 512 photos; a loss that needs more than the pairs of a batch
            is left out.

    Raises:
        ValueError: if there is no positive or no negative pair.
    """
    s = PairSimilarities.of(vectors, labels)
    if not len(s.positive) or not len(s.negative):
        raise ValueError(
            "these photos have no positive or no negative pair; inspect a set of several classes with several photos each"
        )
    # Computed once each, because several fields come from the same pass over the vectors.
    intra, inter = geometry.class_spread(vectors, labels)
    hubs = geometry.hubness(vectors, labels)
    decay, rank = geometry.decay_and_rank(vectors)
    weights = _weight_share(vectors[:MAX_WEIGHTED_PHOTOS], labels[:MAX_WEIGHTED_PHOTOS], loss)
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
        # The class means coincide if all embeddings collapse to one point.
        pi_ratio=intra / max(inter, 1e-12),
        rho=decay,
        effective_rank=rank,
        hub_skewness=hubs.skewness,
        hub_never=hubs.never,
        hub_bad=hubs.bad,
        circle_pass=geometry.circle_pass_rate(vectors, labels),
        hardest_1_percent=weights.hardest if weights else None,
        effective_pairs=weights.effective if weights else None,
        wrong_signs=weights.wrong if weights else None,
    )


def _weight_share(vectors: Tensor, labels: Tensor, loss: Any) -> geometry.WeightShare | None:
    pairs = Pairs.within(labels)
    # A loss of embeddings or of proxies has no weights on the pairs of a batch.
    if loss is None or not has_batch_weights(loss) or not bool(pairs.complete.any()):
        return None
    # (photo, photo) in float64, because the weights of some losses span many orders of magnitude.
    gradient = pair_gradient(similarity_measure(loss), (vectors @ vectors.T).double(), pairs)
    return geometry.weight_share(gradient, pairs)


def embedding_stats_or_none(vectors: Tensor | None, labels: Tensor | None, loss: Any) -> EmbeddingStats | None:
    """Return the statistics of vectors of any length; None without vectors, or without positive and negative pairs."""
    if vectors is None or labels is None:
        return None
    # Positive pairs need a class of two photos, negative pairs a second class.
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2 or not bool((counts > 1).any()):
        return None
    return embedding_stats(unit(vectors), labels, loss)


def choose_classes(labels: Tensor, max_photos: int) -> Tensor:
    """Return classes that together have at most `max_photos` photos, but at least two classes.

    The classes are taken in a random order that depends on their number alone, so the choice is always the same.

    >>> choose_classes(torch.tensor([0, 0, 1, 1, 2, 2]), 4).tolist()
    [2, 0]
    """
    classes, counts = labels.unique(return_counts=True)
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    # Photos of the first class, of the first two classes, and so on.
    photos = counts[order].cumsum(0)
    return classes[order[: max(2, int((photos <= max_photos).sum()))]]


def whole_classes(labels: Tensor, max_photos: int) -> Tensor:
    """Return the positions of all photos of the classes that `choose_classes` returns.

    >>> whole_classes(torch.tensor([0, 0, 1, 1, 2, 2]), 4).tolist()
    [0, 1, 4, 5]
    """
    return torch.isin(labels, choose_classes(labels, max_photos)).nonzero().squeeze(1)
