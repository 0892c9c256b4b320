"""AUROC, BAKS, BAUS and the curve of accepts against plain loops."""

import numpy as np
import pytest

from pairlens.collection.known_and_strange import Queries
from pairlens.collection.open_set import auroc, balanced_accuracies, true_accepts


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    strange = rng.random(60) < 0.5
    classes = rng.integers(4, size=60) + 4 * strange
    right = (rng.random(60) < 0.6) & ~strange
    # Rounded, so that there are equal scores.
    return Queries(np.zeros((60, 1)), classes, right, strange), np.round(rng.normal(size=60) + right, 1)


def mean_over_classes(classes, hits):
    return np.mean([np.mean([hit for hit, c in zip(hits, classes, strict=True) if c == one]) for one in set(classes)])


def test_auroc_counts_pairs():
    queries, scores = drawn()
    pairs = [(a > b) + (a == b) / 2 for a in scores[~queries.is_strange] for b in scores[queries.is_strange]]
    assert auroc(queries, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_balanced_accuracies_are_means_over_classes():
    queries, scores = drawn()
    accepted = scores > 0.3
    found = balanced_accuracies(queries, accepted)
    known = ~queries.is_strange
    assert found.known == pytest.approx(mean_over_classes(queries.classes[known], (accepted & queries.is_right)[known]))
    assert found.unknown == pytest.approx(mean_over_classes(queries.classes[~known], ~accepted[~known]))


def test_the_curve_has_the_accepts_of_the_lowest_threshold_with_that_rate():
    queries, scores = drawn()
    curve = true_accepts(queries, scores, (0.0, 0.1, 0.3, 1.0))
    for rate, value in zip((0.0, 0.1, 0.3), curve, strict=False):
        allowed = [t for t in scores if 1 - balanced_accuracies(queries, scores > t).unknown <= rate + 1e-12]
        assert value == pytest.approx(max(balanced_accuracies(queries, scores > t).known for t in allowed))
    assert (np.diff(curve) >= 0).all()
