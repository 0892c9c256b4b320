"""Geometry of an embedded set: pair similarities, class spread, spectrum, hubs. Pure functions."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.neighbors.exact import nearest

BINS = 200
FALSE_POSITIVE_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class PairSimilarities:
    """The cosines of all positive and of all negative pairs of a set; each pair occurs once.

    Attributes:
        positive: (positive pair,) s_p.
        negative: (negative pair,) s_n.
    """

    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, vectors: Tensor, labels: Tensor) -> "PairSimilarities":
        """Return the pair similarities of (photo, dim) unit vectors.

        >>> PairSimilarities.of(torch.eye(3), torch.tensor([0, 0, 1])).negative
        tensor([0., 0.])
        """
        similarity, pairs = vectors @ vectors.T, Pairs.within(labels)  # both (photo, photo)
        # The matrix is symmetric, so the part above its diagonal has each pair once.
        once = torch.ones_like(pairs.positive).triu(1)
        return cls(similarity[pairs.positive & once], similarity[pairs.negative & once])


def histogram_overlap(similarities: PairSimilarities, bins: int = BINS) -> float:
    """Return the area that the histograms of s_p and s_n on [-1, 1] share: 0 if they are disjoint, 1 if they are equal."""
    # Rounding makes some cosines slightly larger than 1, and `histc` leaves out what lies outside its range.
    shares = [torch.histc(s.clamp(-1, 1), bins, -1, 1) / len(s) for s in (similarities.positive, similarities.negative)]
    return float(torch.minimum(*shares).sum())


def d_prime(similarities: PairSimilarities) -> float:
    """Return d' = (mean s_p - mean s_n) / √((var s_p + var s_n) / 2)."""
    p, n = (s.double() for s in (similarities.positive, similarities.negative))
    return float((p.mean() - n.mean()) / ((p.var(correction=0) + n.var(correction=0)) / 2).sqrt())


def roc_auc(similarities: PairSimilarities) -> float:
    """Return the probability that a positive pair is more similar than a negative pair; a tie counts one half.

    >>> roc_auc(PairSimilarities(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1])))
    0.875
    """
    p, n = similarities.positive, similarities.negative.sort().values
    # For each positive pair, the number of negative pairs that are less similar, and less or equally similar.
    less = torch.searchsorted(n, p)
    less_or_equal = torch.searchsorted(n, p, right=True)
    return float((less + less_or_equal).double().mean() / (2 * len(n)))


def true_positive_rate(similarities: PairSimilarities, at: float = FALSE_POSITIVE_RATE) -> float:
    """Return the share of the positive pairs above the threshold at which the false positive rate is `at`."""
    n = similarities.negative.sort(descending=True).values
    # The negative pairs in descending order, so their share above the threshold is the rate.
    threshold = n[min(int(at * len(n)), len(n) - 1)]
    return float((similarities.positive > threshold).double().mean())


def alignment(similarities: PairSimilarities) -> float:
    """Return E |x - y|² over positive pairs (Wang and Isola, ICML 2020, arXiv 2005.10242, exponent 2): 0 is perfect."""
    # For unit vectors |x - y|² = 2 - 2 x·y.
    return float((2 - 2 * similarities.positive.double()).mean())


def uniformity(similarities: PairSimilarities, t: float = 2.0) -> float:
    """Return log E e^{-t |x - y|²} over all pairs (the same source, t = 2): lower values mean a more even spread."""
    cosines = torch.cat([similarities.positive, similarities.negative]).double()
    return float((-t * (2 - 2 * cosines)).exp().mean().log())


def class_spread(vectors: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return π_intra and π_inter: the mean cosine distance within the classes and between the class means.

    π_intra is the mean over the classes of the mean distance of their pairs; classes of one photo are left out. π_inter is
    the mean distance over all pairs of class means, each scaled to unit length. Source: Roth et al., ICML 2020, arXiv
    2002.08473.

    >>> [round(x, 4) for x in class_spread(torch.eye(4), torch.tensor([0, 0, 1, 1]))]
    [1.0, 1.0]
    """
    classes, class_of_photo = labels.unique(return_inverse=True)
    count, dim, doubles = len(classes), vectors.shape[1], vectors.double()
    sums = doubles.new_zeros(count, dim).index_add(0, class_of_photo, doubles)  # (class, dim)
    sizes = torch.bincount(class_of_photo, minlength=count).double()  # (class,)
    squares = doubles.new_zeros(count).index_add(0, class_of_photo, doubles.square().sum(1))  # (class,) Σ |x|²
    # Σ_{i ≠ j} x_i·x_j = |Σ x|² - Σ |x|², so no matrix of pairs is needed.
    several = sizes > 1
    within = (sums.square().sum(dim=1) - squares)[several] / (sizes * (sizes - 1))[several]
    # The same for the class means, each of which has length 1.
    between = (unit(sums).sum(dim=0).square().sum() - count) / max(count * (count - 1), 1)
    return float(1 - within.mean()), float(1 - between)


def spectral_decay(vectors: Tensor) -> float:
    """Return ρ = KL(uniform ‖ singular values), with the singular values of the uncentred matrix scaled to sum 1.

    0 is a flat spectrum. Source: Roth et al., ICML 2020, who find that flatter spectra generalise better to new classes.

    >>> spectral_decay(torch.eye(4))
    0.0
    """
    return decay_and_rank(vectors)[0]


def effective_rank(vectors: Tensor) -> float:
    """Return e^H, the exponential of the entropy of the singular values scaled to sum 1: the number of dimensions in use.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.

    >>> round(effective_rank(torch.eye(4)), 4)
    4.0
    """
    return decay_and_rank(vectors)[1]


def decay_and_rank(vectors: Tensor) -> tuple[float, float]:
    """Return `spectral_decay` and `effective_rank` from one singular value decomposition, which takes most of the time.

    >>> decay_and_rank(torch.eye(2))
    (0.0, 2.0)
    """
    values = torch.linalg.svdvals(vectors.double())
    share = values / values.sum()
    # The logarithm of a singular value of 0 is not finite.
    logarithms = share.clamp(min=1e-12).log()
    return float((math.log(1 / len(share)) - logarithms).mean()), float((-(share * logarithms).sum()).exp())


@dataclass(frozen=True)
class Hubness:
    """How unevenly photos occur among the nearest neighbours of other photos.

    Attributes:
        skewness: skewness of N_k; 0 if its distribution is symmetric.
        never: share of photos with N_k = 0.
        bad: share of neighbours that have another class than the photo they are near to.
        hubs: (photo,) positions of the photos, sorted by decreasing N_k.
        occurrences: (photo,) N_k: how often each photo is among the k nearest neighbours of another photo.
    """

    skewness: float
    never: float
    bad: float
    hubs: Tensor
    occurrences: Tensor


def hubness(vectors: Tensor, labels: Tensor, k: int = 10) -> Hubness:
    """Return the hubness of a set (Radovanović et al., JMLR 2010); k is cut to the number of other photos."""
    k = min(k, len(vectors) - 1)
    neighbors = nearest(vectors, vectors, k, torch.arange(len(vectors))).indices  # (photo, k)
    counts = torch.bincount(neighbors.flatten(), minlength=len(vectors))
    n = counts.double()
    # If all photos occur equally often the deviation is 0, and the skewness is to be 0, not NaN.
    deviation = n.std(correction=0).clamp(min=1e-12)
    return Hubness(
        skewness=float(((n - n.mean()) ** 3).mean() / deviation**3),
        never=float((counts == 0).double().mean()),
        bad=float((labels[neighbors] != labels[:, None]).double().mean()),
        hubs=counts.argsort(descending=True, stable=True),
        occurrences=counts,
    )


def circle_pass_rate(vectors: Tensor, labels: Tensor, margin: float = 0.25) -> float:
    """Return the share of the photos whose hardest pairs satisfy s_n² + (1 - s_p)² < 2 m².

    s_p is a photo's least similar positive and s_n its most similar negative; photos that lack either are left out.
    """
    similarity, pairs = vectors @ vectors.T, Pairs.within(labels)  # both (photo, photo)
    s_p = similarity.masked_fill(~pairs.positive, torch.inf).amin(dim=1)
    s_n = similarity.masked_fill(~pairs.negative, -torch.inf).amax(dim=1)
    passes = s_n**2 + (1 - s_p) ** 2 < 2 * margin**2
    return float(passes[pairs.complete].double().mean())


@dataclass(frozen=True)
class WeightShare:
    """How a loss distributes its weight over the pairs of a set.

    Attributes:
        hardest: share of the weight on the 1 % of the pairs that have the largest weights.
        effective: (Σ w)² / Σ w² over the number of pairs: 1 if all weights are equal.
        wrong: share of the pairs that are pushed in the wrong direction.
    """

    hardest: float
    effective: float
    wrong: float


def weight_share(gradient: Tensor, pairs: Pairs) -> WeightShare:
    """Return how dL/ds, as `losses.pair_gradient.pair_gradient` returns it, is distributed over the pairs.

    Args:
        gradient: (anchor, reference) dL/ds.
        pairs: the masks of the same shape.

    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))
    >>> weight_share(torch.tensor([[-1.0, 1.0, 0.0]]), pairs).effective
    0.6666666666666666
    """
    # A loss should pull positive pairs together (dL/ds < 0) and push negative pairs apart (dL/ds > 0).
    signed = torch.cat([-gradient[pairs.positive], gradient[pairs.negative]]).double()
    weight = signed.abs().sort(descending=True).values
    # A loss that is satisfied has weights of 0; the shares are then 0, not NaN.
    total = weight.sum().clamp(min=1e-300)
    top = max(1, round(0.01 * len(weight)))
    return WeightShare(
        hardest=float(weight[:top].sum() / total),
        effective=float(total**2 / weight.square().sum().clamp(min=1e-300) / len(weight)),
        wrong=float((signed < -1e-6 * weight[0]).double().mean()),
    )
