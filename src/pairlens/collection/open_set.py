"""Measures of open-set retrieval: how well a score separates right matches and strange queries, and balanced accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairlens.collection.calibration_folds import weighted_quantile
from pairlens.collection.known_and_strange import Booleans, Queries
from pairlens.collection.match_features import Array


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


def auroc(queries: Queries, scores: Array) -> float:
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


def true_accepts(queries: Queries, scores: Array, false_accepts: Sequence[float]) -> Array:
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
