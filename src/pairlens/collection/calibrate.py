"""Learning a calibration from labelled photos of classes that the model was not trained on."""

import math
from collections.abc import Sequence

import numpy as np

from pairlens.collection.calibration import (
    Calibration,
    CalibrationSize,
    RateThreshold,
    ReliabilityBin,
    UnsupportedRate,
)
from pairlens.collection.calibration_folds import (
    DIVISIONS,
    CrossFitted,
    cross_fit,
    false_accept_rate,
    held_out_rates,
    probability_of,
)
from pairlens.collection.match_features import Array
from pairlens.core.inputs import Numbers, as_batch, as_whole_number, not_finite_words
from pairlens.core.similarity import unit
from pairlens.evaluation.class_divisions import LabelledVectors

RATES = (0.05, 0.01, 0.001)
LEAST_CLASSES, LEAST_PHOTOS = 20, 4
# The photos that may be expected above a threshold; with fewer of them it would rest on single photos.
LEAST_ACCEPTED = 5
# All cosines of this number of photos take 256 MB.
MOST_PHOTOS, MOST_PHOTOS_OF_A_CLASS = 8000, 100
BINS = 10
# Coordinates that the photos are sorted by, so that the order of the items does not matter.
SORTED_BY = 8
LEVEL = 0.95


def calibrate(
    vectors: Numbers,
    labels: Numbers,
    fingerprint: str,
    rates: Sequence[float] = RATES,
    seed: int = 0,
    labelled: bool = True,
) -> Calibration:
    """Learn how probable it is that the best match of a query is of its class, and when to answer "no match".

    A query is strange if the gallery does not hold its class. The false accept rate is the share of the strange queries
    whose best match is accepted, as the mean over their classes. The classes are divided into known and strange ones
    many times; the score of a query comes from a logistic regression that has seen no photo of its class, and a
    threshold is the quantile of the scores of the strange queries.

    The gallery of a division holds half of the classes. At 0.05, in 12 splits each of CUB-200-2011 and CARS196, galleries
    of four times as many classes had a rate of 0.02, and those of a quarter as many 0.10 and 0.20; so a calibration is for
    collections of at least half as many classes as it was learned from.

    Photos of a class are no independent queries, so the interval is one over classes. The whole procedure is repeated on
    one half of the classes and measured on the other half; with r the measured rates and α the asked one, s² is the mean of
    (√r - √α)² / 2, because the error of a mean over twice as many classes has half the variance. The interval is
    (√α ± t s)², with t of Student's distribution; its degrees of freedom are those of a quarter of the classes, which are
    the strange ones of a repetition. If the mean of r exceeds α, half of the excess is expected with all classes, and the
    threshold is that of a rate which is lower by as much.

    Args:
        vectors: (item, dim); scaled to unit length here.
        labels: (item,) integers. At least 20 classes must have 4 photos; the others are left out. Of more than 8,000
            photos, whole classes are drawn, and of each of them at most 100 photos.
        fingerprint: of the model that made the vectors.
        rates: the false accept rates that thresholds are wanted for.
        seed: of the divisions. The order of the items and the numbers of the classes change nothing.
        labelled: whether the items of the collection have labels; without them fewer features are known.

    Raises:
        ValueError: if there are too few classes or photos, with the numbers; if a vector is not finite; or if a rate is not
            above 0 and at most 0.5.

    >>> rng = np.random.default_rng(0)
    >>> centres = np.repeat(rng.normal(size=(24, 8)), 8, axis=0)
    >>> photos = centres + 0.7 * rng.normal(size=centres.shape)
    >>> calibration = calibrate(photos, np.arange(24).repeat(8), "a model", rates=(0.05,))
    >>> calibration.size.classes, calibration.thresholds[0].rate
    (24, 0.05)
    """
    asked = check_rates(rates)
    rng = np.random.default_rng(as_whole_number(seed, "seed", least=0))
    photos = _choose(*_checked(vectors, labels), rng)
    _check_supported(asked, len(photos.classes))
    classes = np.arange(len(photos.photos_of))
    fitted = cross_fit(photos, classes, DIVISIONS, labelled, rng)
    supported = [rate for rate in asked if _missing(rate, len(photos.classes)) is None]
    spread = held_out_rates(photos, tuple(supported), labelled, rng)  # (repetition, rate)
    thresholds = [_threshold(fitted, rate, spread[:, i], len(classes)) for i, rate in enumerate(supported)]
    reasons = [(rate, _missing(rate, len(photos.classes))) for rate in asked]
    strange = int(fitted.queries.is_strange.sum())
    return Calibration(
        fingerprint,
        labelled,
        fitted.model,
        tuple(thresholds),
        tuple(UnsupportedRate(rate, reason) for rate, reason in reasons if reason is not None),
        CalibrationSize(len(classes), len(photos.classes), DIVISIONS, len(classes) // 2, strange),
        reliability_bins(probability_of(fitted.scores), fitted.queries.is_right, fitted.queries.weights()),
    )


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Return false accept rates in decreasing order; raises ValueError unless each is above 0 and at most 0.5."""
    try:
        found = tuple(sorted({float(rate) for rate in rates}, reverse=True))
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < rate <= 0.5 for rate in found):
        raise ValueError(f"rates {rates!r} must be one or more false accept rates above 0, at most 0.5")
    return found


def reliability_bins(probability: Array, is_right: np.ndarray, weights: Array) -> tuple[ReliabilityBin, ...]:
    """Return ten bins of equal width of (query,) probabilities, without the empty ones."""
    bin_of = np.minimum((probability * BINS).astype(int), BINS - 1)
    total = weights.sum()
    found = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        weight = weights[inside]
        means = [np.average(values[inside], weights=weight) for values in (probability, is_right)]
        # A mean of ones may be rounded to slightly more than 1.
        mean, right, share = (min(float(value), 1.0) for value in (*means, weight.sum() / total))
        found.append(ReliabilityBin(mean, right, share))
    return tuple(found)


def _checked(vectors: Numbers, labels: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Return (item, dim) float32 unit vectors and (item,) labels in an order that depends on neither order nor labels."""
    embeddings, numbers = as_batch(vectors, labels)
    words = not_finite_words(embeddings, "vectors: item {}")
    if words is not None:
        raise ValueError(f"{words}; look for NaN or overflow where it was embedded")
    units = unit(embeddings.detach()).float().cpu().numpy()
    # Photos whose first coordinates are equal are copies of each other.
    order = np.lexsort(units.T[:SORTED_BY][::-1])
    return units[order], numbers.cpu().numpy()[order]


def _choose(vectors: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> LabelledVectors:
    """Return the photos of the classes with enough of them, at most `MOST_PHOTOS`."""
    # Classes are numbered by their first photo in the order of the vectors.
    _, first, class_of = np.unique(labels, return_index=True, return_inverse=True)
    by_class = [np.flatnonzero(class_of == number) for number in np.argsort(first)]
    large = [rows for rows in by_class if len(rows) >= LEAST_PHOTOS]
    if len(large) < LEAST_CLASSES:
        raise ValueError(
            f"calibration needs at least {LEAST_CLASSES} classes with {LEAST_PHOTOS} photos, these are {len(large)}"
        )
    if len(labels) > MOST_PHOTOS:
        drawn = [rng.permutation(rows)[:MOST_PHOTOS_OF_A_CLASS] for rows in large]
        shuffled = [drawn[number] for number in rng.permutation(len(drawn))]
        # At least the smallest possible number of classes, which have 2,000 photos at most.
        reached = np.cumsum([len(rows) for rows in shuffled])
        large = shuffled[: max(int((reached <= MOST_PHOTOS).sum()), LEAST_CLASSES)]
    rows = np.concatenate(large)
    return LabelledVectors.of(vectors[rows], np.repeat(np.arange(len(large)), [len(one) for one in large]))


def _missing(rate: float, photos: int) -> str | None:
    """Return why a rate is not supported; None if it is."""
    least = math.ceil(LEAST_ACCEPTED / rate)
    if photos >= least:
        return None
    return f"it needs at least {least:,} photos, so that {LEAST_ACCEPTED} lie above its threshold; these are {photos:,}"


def _check_supported(rates: tuple[float, ...], photos: int) -> None:
    reason = _missing(rates[0], photos)
    if reason is not None:
        raise ValueError(f"calibration at the false accept rate {rates[0]:g} is not possible: {reason}")


def _threshold(fitted: CrossFitted, rate: float, held_out: Array, classes: int) -> RateThreshold:
    # Imported here, because scipy.stats takes half as long to import as PyTorch.
    from scipy import stats

    # A threshold is chosen where it fits these classes best, so new classes exceed it more often. The excess on the other
    # half of the classes is twice that of all classes; a rate that came out lower is no reason to accept more.
    expected = max(rate, (rate + float(held_out.mean())) / 2)
    score = fitted.threshold(rate * rate / expected)
    accepted = fitted.scores > score
    measured = false_accept_rate(fitted.queries, accepted)
    # On the scale of √rate the spread hardly depends on the rate, which may be 0 for the classes of one repetition.
    deviation = math.sqrt(float(np.mean((np.sqrt(held_out) - math.sqrt(rate)) ** 2)) / 2)
    # The strange classes of one repetition are a quarter of all classes.
    half = float(stats.t.ppf((1 + LEVEL) / 2, classes // 4 - 1)) * deviation
    low = max(math.sqrt(rate) - half, 0.0) ** 2
    high = min((math.sqrt(rate) + half) ** 2, 1.0)
    known = ~fitted.queries.is_strange
    right = accepted[known] & fitted.queries.is_right[known]
    true_accepts = float(np.average(right, weights=fitted.queries.weights()[known]))
    return RateThreshold(rate, score, measured, min(low, measured), max(high, measured), true_accepts)
