"""Measures of open-set retrieval: how well a score separates right matches and strange queries, and balanced accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pairlens.evaluation.class_divisions import Booleans, Division, Floats, Integers, LabelledVectors, Queries, halves
from pairlens.evaluation.embedding_stats import whole_classes
from pairlens.evaluation.pair_scores import PairScores
from pairlens.evaluation.threshold_consistency import opis
from pairlens.evaluation.weighted_quantile import weighted_quantile

DIVISIONS = 20
# The share of the strange queries that are accepted at the threshold, of the classes that it is chosen on.
FALSE_ACCEPTS = 0.05
# Two classes are known, the threshold is chosen on a third one, and a fourth one is strange as well.
LEAST_CLASSES = 4
# All cosines of this number of photos take 36 MB.
MAX_PHOTOS = 3000


@dataclass(frozen=True)
class BalancedAccuracies:
    """Mean accuracies over classes at one threshold.

    Attributes:
        known: BAKS, the share of the queries of held classes that are accepted with a best match of their class.
        unknown: BAUS, the share of the strange queries that are not accepted.

    Source: Adam et al., "AnimalCLEF25", the animal re-identification challenge of LifeCLEF 2025, ranks by √(BAKS · BAUS).
    """

    known: float
    unknown: float


def balanced_accuracies(queries: Queries, accepted: Booleans) -> BalancedAccuracies:
    """Return BAKS and BAUS of a (query,) decision.

    >>> queries = Queries(np.zeros((4, 1)), np.array([0, 0, 1, 2]), np.array([True, True, False, False]), np.arange(4) > 2)
    >>> balanced_accuracies(queries, np.array([True, False, True, False]))
    BalancedAccuracies(known=0.25, unknown=1.0)
    """
    strange = queries.is_strange
    weights = queries.weights()
    known = np.average((accepted & queries.is_right)[~strange], weights=weights[~strange])
    return BalancedAccuracies(float(known), float(np.average(~accepted[strange], weights=weights[strange])))


def auroc(queries: Queries, scores: Floats) -> float:
    """Return the probability that a query of a held class has a higher score than a strange one; equal scores count half.

    A photo has the same weight in every class, as it is usual for this measure.
    """
    _, rank_of = np.unique(scores, return_inverse=True)
    counts = np.bincount(rank_of)
    # The mean of the ranks from 1 that equal scores share.
    mean_rank = (np.cumsum(counts) - (counts - 1) / 2)[rank_of]
    known = ~queries.is_strange
    held, strange = int(known.sum()), int(queries.is_strange.sum())
    return float((mean_rank[known].sum() - held * (held + 1) / 2) / (held * strange))


def true_accepts(queries: Queries, scores: Floats, false_accepts: Sequence[float]) -> Floats:
    """Return (rate,) BAKS at the thresholds with these false accept rates on the very same queries.

    Args:
        queries: known and strange ones.
        scores: (query,); a higher score is accepted.
        false_accepts: the rates, at most 1.
    """
    strange = queries.is_strange
    weights = queries.weights()
    limits = [weighted_quantile(scores[strange], weights[strange], 1 - rate) for rate in false_accepts]
    # (rate, known query): whether it is accepted with a match of its class.
    right = (scores[~strange] > np.array(limits)[:, None]) & queries.is_right[~strange]
    return np.average(right, axis=1, weights=weights[~strange])


@dataclass(frozen=True)
class OpenSetStats:
    """Open-set measures of one set of embedded photos; a spread is the standard deviation over the divisions.

    The divisions share photos, so a spread is not the error of a mean.

    Attributes:
        divided_classes: number of classes with at least two photos, half of which a gallery holds.
        auroc: probability that a query of a known class has a higher score than one of a strange class.
        auroc_spread: spread of `auroc`.
        baks: share of the known queries that are accepted with a match of their class, as the mean over their classes.
        baks_spread: spread of `baks`.
        baus: share of the strange queries that are not accepted, as the mean over their classes.
        baus_spread: spread of `baus`.
        opis: threshold inconsistency of the classes, see `threshold_consistency.opis`; without divisions.
    """

    divided_classes: int
    auroc: float
    auroc_spread: float
    baks: float
    baks_spread: float
    baus: float
    baus_spread: float
    opis: float


def open_set_stats(vectors: Tensor, labels: Tensor, seed: int = 0) -> OpenSetStats | None:
    """Return the mean open-set measures of 20 divisions of the classes; None for fewer than 4 classes with 2 photos.

    In each division, half of the classes are known: half of the photos of each are the gallery, the other half are
    queries. All photos of the other classes are strange queries. The score of a query is the cosine of its best match.
    BAKS and BAUS are measured at the threshold that 5 % of the strange queries exceed. It is chosen on one half of the
    strange classes, and BAUS is measured on the other half, so BAUS is 95 % only as far as the threshold holds for new
    classes. A class with a single photo is not divided; for OPIS its photo makes negative pairs.

    Args:
        vectors: (photo, dim) unit vectors. Of more than 3,000 photos, those of some whole classes are measured.
        labels: (photo,) integers.
        seed: of the divisions.
    """
    rows = whole_classes(labels, MAX_PHOTOS)
    vectors, labels = vectors[rows].cpu(), labels[rows].cpu()
    _, class_of, counts = labels.unique(return_inverse=True, return_counts=True)
    several = (counts[class_of] > 1).nonzero().squeeze(1)
    classes = labels[several].unique(return_inverse=True)[1].numpy()
    number = int((counts > 1).sum())
    if number < LEAST_CLASSES:
        return None
    photos = LabelledVectors.of(vectors[several].numpy(), classes)
    rng = np.random.default_rng(seed)
    drawn = halves(np.arange(number), DIVISIONS, rng)
    # (division, measure)
    measured = np.array([_measures(photos, known, strange, rng) for known, strange in drawn])
    means, spreads = measured.mean(axis=0).tolist(), measured.std(axis=0, ddof=1).tolist()
    pairs = PairScores(vectors[several], labels[several], vectors, labels, several)
    both = [value for pair in zip(means, spreads, strict=True) for value in pair]
    return OpenSetStats(number, *both, opis=float(opis(pairs).mean()))


def _measures(
    photos: LabelledVectors, known: Integers, strange: Integers, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return AUROC, BAKS and BAUS of one division."""
    queries = cosine_queries(photos, Division.draw(photos.photos_of, known, strange, rng))
    scores = queries.features[:, 0]
    # The strange classes are in random order. Where their number is odd, the larger half chooses.
    chooses = np.isin(queries.classes, np.array_split(strange, 2)[0])
    threshold = weighted_quantile(scores[chooses], queries.weights()[chooses], 1 - FALSE_ACCEPTS)
    accuracies = balanced_accuracies(queries.at(~chooses), scores[~chooses] > threshold)
    return auroc(queries, scores), accuracies.known, accuracies.unknown


def cosine_queries(photos: LabelledVectors, division: Division) -> Queries:
    """Return the queries of a division with the cosine of their best match as the only feature."""
    cosines = photos.cosines_in(division)  # (query, item)
    best = cosines.argmax(axis=1)
    classes = photos.classes[division.queries]
    is_right = (photos.classes[division.gallery[best]] == classes) & ~division.is_strange
    return Queries(cosines.max(axis=1)[:, None].astype(np.float64), classes, is_right, division.is_strange)
