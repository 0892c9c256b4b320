"""The score of a match, learned with cross-fitting over classes, and the false accept rates on classes left out."""

import math
from dataclasses import dataclass

import numpy as np

from pairlens.collection.known_and_strange import divided
from pairlens.collection.match_features import Array
from pairlens.core.records import require
from pairlens.evaluation.class_divisions import Booleans, Integers, LabelledVectors, Queries, halves
from pairlens.evaluation.weighted_quantile import weighted_quantile

DIVISIONS, FOLDS = 12, 5
# Divisions of half of the classes, where the whole procedure is repeated many times.
DIVISIONS_OF_HALF, REPETITIONS = 4, 24
# Added to the standard deviation of a feature, because one that is constant has none.
TINY = 1e-9


@dataclass(frozen=True)
class MatchModel:
    """Logistic regression on standardised features: log-odds = intercept + Σ coefficient · (feature - mean) / scale.

    Attributes:
        mean: (feature,).
        scale: (feature,), above 0.
        coefficients: (feature,).
        intercept: log-odds where all features have their mean.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.scale, *self.coefficients, self.intercept)
        require(all(map(math.isfinite, numbers)), "the numbers of a match model must be finite")
        lengths = {len(self.mean), len(self.scale), len(self.coefficients)}
        require(len(lengths) == 1, "mean, scale and coefficients of a match model must have the same length")
        require(all(scale > 0 for scale in self.scale), "the scales of a match model must be above 0")

    def score(self, features: Array) -> Array:
        """Return the (query,) log-odds that the best match is of the query's class."""
        standardised = (features - np.array(self.mean)) / np.array(self.scale)
        return standardised @ np.array(self.coefficients) + self.intercept


def probability_of(scores: Array) -> Array:
    """Return the probabilities 1 / (1 + exp(-score)) of log-odds, through tanh, because exp overflows.

    >>> probability_of(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 0.5 * (1 + np.tanh(scores / 2))


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """A model, and the scores of its calibration queries by models that have not seen their classes.

    Attributes:
        model: fitted to all queries.
        queries: of all divisions.
        scores: (query,) cross-fitted log-odds.
    """

    model: MatchModel
    queries: Queries
    scores: Array

    def threshold(self, rate: float) -> float:
        """Return the score that this share of the strange queries exceeds, every class with the same weight."""
        strange = self.queries.is_strange
        return weighted_quantile(self.scores[strange], self.queries.weights()[strange], 1 - rate)


def fit_match_model(queries: Queries) -> MatchModel:
    """Fit the log-odds that the best match is of the query's class; a known and a strange query are equally probable."""
    # Imported here, because scikit-learn takes a second to import.
    from sklearn.linear_model import LogisticRegression

    mean, scale = queries.features.mean(axis=0), queries.features.std(axis=0) + TINY
    if not queries.is_right.any():
        # Nothing tells a right match from a wrong one. The odds are those of half a right match among all queries.
        odds = 0.5 / len(queries.is_right)
        return MatchModel(tuple(map(float, mean)), tuple(map(float, scale)), (0.0,) * len(mean), math.log(odds))
    standardised = (queries.features - mean) / scale
    # With seven features Newton's method is exact and takes some milliseconds.
    fitted = LogisticRegression(solver="newton-cholesky").fit(
        standardised, queries.is_right, sample_weight=queries.weights()
    )
    coefficients = tuple(map(float, fitted.coef_[0]))
    return MatchModel(tuple(map(float, mean)), tuple(map(float, scale)), coefficients, float(fitted.intercept_[0]))


def cross_fit(
    photos: LabelledVectors, classes: Integers, divisions: int, labelled: bool, rng: np.random.Generator
) -> CrossFitted:
    """Divide classes many times into known and strange ones, and learn the score with cross-fitting over classes.

    Args:
        photos: the labelled photos.
        classes: (class,) the classes to use, at least `FOLDS`.
        divisions: an even number; each division is followed by its reverse, so every class is strange equally often.
        labelled: whether the features may use labels.
        rng: draws divisions, galleries and folds.
    """
    drawn = halves(classes, divisions, rng)
    queries = Queries.join([divided(photos, known, strange, labelled, rng) for known, strange in drawn])
    scores = np.empty(len(queries.classes))
    for fold in np.array_split(rng.permutation(classes), FOLDS):
        held_out = np.isin(queries.classes, fold)
        scores[held_out] = fit_match_model(queries.at(~held_out)).score(queries.features[held_out])
    return CrossFitted(fit_match_model(queries), queries, scores)


def held_out_rates(
    photos: LabelledVectors, rates: tuple[float, ...], labelled: bool, rng: np.random.Generator
) -> Array:
    """Repeat the whole procedure on half of the classes, and measure the false accept rates on the other half.

    The two halves share no class: neither the strange classes nor those of the gallery. So the spread of the measured
    rates contains all that differs when the classes are new ones.

    Returns:
        (repetition, rate) measured rates.
    """
    measured = []
    for _ in range(REPETITIONS):
        shuffled = rng.permutation(len(photos.photos_of))
        learned, checked = np.array_split(shuffled, 2)
        fitted = cross_fit(photos, learned, DIVISIONS_OF_HALF, labelled, rng)
        known, strange = np.array_split(checked, 2)
        queries = divided(photos, known, strange, labelled, rng)
        scores = fitted.model.score(queries.features)
        measured.append([false_accept_rate(queries, scores > fitted.threshold(rate)) for rate in rates])
    return np.array(measured)


def false_accept_rate(queries: Queries, accepted: Booleans) -> float:
    """Return the share of strange queries that are accepted, as the mean over their classes."""
    strange = queries.is_strange
    return float(np.average(accepted[strange], weights=queries.weights()[strange]))
