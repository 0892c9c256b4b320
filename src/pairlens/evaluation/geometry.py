"""The shape of an embedded set in numbers: similarities, spread of classes, spectrum, hubs. Pure functions."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.neighbors.exact import nearest

BINS = 200
FALSE_POSITIVES = 1e-3


@dataclass(frozen=True, eq=False)
class PairSimilarities:
    """The cosines of all positive and all negative pairs of a set, each pair once.

    Attributes:
        positive: (pair,) s_p.
        negative: (pair,) s_n.
    """

    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, vectors: Tensor, labels: Tensor) -> "PairSimilarities":
        """Return those of (photo, dim) unit vectors.

        >>> PairSimilarities.of(torch.eye(3), torch.tensor([0, 0, 1])).negative
        tensor([0., 0.])
        """
        similarity, pairs = vectors @ vectors.T, Pairs.within(labels)
        once = torch.ones_like(pairs.positive).triu(1)
        return cls(similarity[pairs.positive & once], similarity[pairs.negative & once])


def histogram_overlap(similarities: PairSimilarities, bins: int = BINS) -> float:
    """Return the area that the histograms of s_p and s_n on [-1, 1] share: 0 apart, 1 alike."""
    shares = [torch.histc(s.clamp(-1, 1), bins, -1, 1) / len(s) for s in (similarities.positive, similarities.negative)]
    return float(torch.minimum(*shares).sum())


def d_prime(similarities: PairSimilarities) -> float:
    """Return d' = (mean s_p - mean s_n) / √((var s_p + var s_n) / 2)."""
    p, n = (s.double() for s in (similarities.positive, similarities.negative))
    return float((p.mean() - n.mean()) / ((p.var(correction=0) + n.var(correction=0)) / 2).sqrt())


def roc_auc(similarities: PairSimilarities) -> float:
    """Return the probability that a positive pair is more similar than a negative one, ties counting half.

    >>> roc_auc(PairSimilarities(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1])))
    0.875
    """
    p, n = similarities.positive, similarities.negative.sort().values
    below, up_to = torch.searchsorted(n, p), torch.searchsorted(n, p, right=True)
    return float((below + up_to).double().mean() / (2 * len(n)))


def true_positive_rate(similarities: PairSimilarities, at: float = FALSE_POSITIVES) -> float:
    """Return the share of positive pairs above the threshold that a share `at` of the negative pairs exceed."""
    n = similarities.negative.sort(descending=True).values
    threshold = n[min(int(at * len(n)), len(n) - 1)]
    return float((similarities.positive > threshold).double().mean())


def alignment(similarities: PairSimilarities) -> float:
    """Return E |x - y|² over positive pairs (Wang and Isola, ICML 2020, arXiv 2005.10242, exponent 2): 0 is perfect."""
    return float((2 - 2 * similarities.positive.double()).mean())


def uniformity(similarities: PairSimilarities, t: float = 2.0) -> float:
    """Return log E e^{-t |x - y|²} over all pairs (the same source, t = 2): the lower, the more evenly spread."""
    all_ = torch.cat([similarities.positive, similarities.negative]).double()
    return float((-t * (2 - 2 * all_)).exp().mean().log())


def class_spread(vectors: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return π_intra and π_inter: cosine distance within classes, and between the class means.

    Of each class with two photos or more the mean distance of its pairs, and the mean of these; of the class means,
    scaled to unit length, the mean distance of all pairs. Source: Roth et al., ICML 2020, arXiv 2002.08473.

    >>> [round(x, 4) for x in class_spread(torch.eye(4), torch.tensor([0, 0, 1, 1]))]
    [1.0, 1.0]
    """
    known, number = labels.unique(return_inverse=True)
    sums = vectors.new_zeros(len(known), vectors.shape[1], dtype=torch.float64).index_add(0, number, vectors.double())
    counts = torch.bincount(number, minlength=len(known)).double()
    lengths = vectors.new_zeros(len(known), dtype=torch.float64).index_add(0, number, vectors.double().square().sum(1))
    several = counts > 1
    within = (sums.square().sum(dim=1) - lengths)[several] / (counts * (counts - 1))[several]
    means = unit(sums)
    between = (means.sum(dim=0).square().sum() - len(known)) / max(len(known) * (len(known) - 1), 1)
    return float(1 - within.mean()), float(1 - between)


def spectral_decay(vectors: Tensor) -> float:
    """Return ρ = KL(uniform || singular values), values of the uncentred matrix scaled to sum 1: 0 is flat.

    Source: Roth et al., ICML 2020: the flatter, the better classes that were not trained on are told apart.

    >>> spectral_decay(torch.eye(4))
    0.0
    """
    share = _spectrum(vectors)
    return float((math.log(1 / len(share)) - share.clamp(min=1e-12).log()).mean())


def effective_rank(vectors: Tensor) -> float:
    """Return e^H of the singular values scaled to sum 1 (Roy and Vetterli, 2007): how many dimensions are in use.

    >>> round(effective_rank(torch.eye(4)), 4)
    4.0
    """
    share = _spectrum(vectors)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())


def _spectrum(vectors: Tensor) -> Tensor:
    values = torch.linalg.svdvals(vectors.double())
    return values / values.sum()


@dataclass(frozen=True)
class Hubness:
    """How unevenly photos occur among the neighbours of others.

    Attributes:
        skewness: of N_k, how often a photo is among the k nearest of another; 0 if even.
        never: share of photos that are nobody's neighbour.
        bad: share of occurrences under a wrong class.
        hubs: (photo,) the photos by N_k, most first.
        occurrences: (photo,) N_k.
    """

    skewness: float
    never: float
    bad: float
    hubs: Tensor
    occurrences: Tensor


def hubness(vectors: Tensor, labels: Tensor, k: int = 10) -> Hubness:
    """Return the hubness of a set (Radovanović et al., JMLR 2010); k at most the number of other photos."""
    k = min(k, len(vectors) - 1)
    found = nearest(vectors, vectors, k, torch.arange(len(vectors))).indices
    counts = torch.bincount(found.flatten(), minlength=len(vectors))
    n = counts.double()
    deviation = n.std(correction=0).clamp(min=1e-12)
    return Hubness(
        skewness=float(((n - n.mean()) ** 3).mean() / deviation**3),
        never=float((counts == 0).double().mean()),
        bad=float((labels[found] != labels[:, None]).double().mean()),
        hubs=counts.argsort(descending=True, stable=True),
        occurrences=counts,
    )


def circle_pass_rate(vectors: Tensor, labels: Tensor, margin: float = 0.25) -> float:
    """Return the share of photos whose hardest pairs lie within the circle s_n² + (1 - s_p)² < 2 m²."""
    similarity, pairs = vectors @ vectors.T, Pairs.within(labels)
    s_p = similarity.masked_fill(~pairs.positive, torch.inf).amin(dim=1)
    s_n = similarity.masked_fill(~pairs.negative, -torch.inf).amax(dim=1)
    counted = pairs.complete
    return float((s_n**2 + (1 - s_p) ** 2 < 2 * margin**2)[counted].double().mean())


@dataclass(frozen=True)
class WeightShare:
    """How a loss shares its weight out over the pairs of a set.

    Attributes:
        hardest: share of the weight on the 1 % of the pairs that have most.
        effective: (Σ w)² / Σ w² over the number of pairs: 1 if all weigh alike.
        wrong: share of the pairs that are pushed the wrong way.
    """

    hardest: float
    effective: float
    wrong: float


def weight_share(gradient: Tensor, pairs: Pairs) -> WeightShare:
    """Return how dL/ds, as `training.weighting.pair_gradient` gives it, is shared out over the pairs.

    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))
    >>> weight_share(torch.tensor([[-1.0, 1.0, 0.0]]), pairs).effective
    0.6666666666666666
    """
    signed = torch.cat([-gradient[pairs.positive], gradient[pairs.negative]]).double()
    weight = signed.abs().sort(descending=True).values
    total = weight.sum().clamp(min=1e-300)
    top = max(1, round(0.01 * len(weight)))
    return WeightShare(
        hardest=float(weight[:top].sum() / total),
        effective=float(total**2 / weight.square().sum().clamp(min=1e-300) / len(weight)),
        wrong=float((signed < -1e-6 * weight[0]).double().mean()),
    )
