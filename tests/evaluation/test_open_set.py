"""AUROC, BAKS, BAUS, the curve of accepts and the measures of a labelled set against plain loops."""

import numpy as np
import pytest
import torch

from pairlens.evaluation.class_divisions import Queries
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.open_set import auroc, balanced_accuracies, open_set_stats, true_accepts, weighted_quantile
from support.gaussian_classes import gaussian_classes


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


def test_a_weighted_quantile_is_the_quantile_of_repeated_values():
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=40), rng.integers(1, 6, size=40)
    for level in (0.0, 0.2, 0.95, 1.0):
        repeated = np.quantile(values.repeat(times), level, method="inverted_cdf")
        assert weighted_quantile(values, times.astype(float), level) == repeated


def measures_by_loops(vectors, labels, known, strange, rng):
    gallery, queries = [], []
    for one in known:
        shuffled = rng.permutation(np.flatnonzero(labels == one)).tolist()
        gallery += shuffled[: len(shuffled) // 2]
        queries += shuffled[len(shuffled) // 2 :]
    queries += [row for row in range(len(labels)) if labels[row] in strange]
    best = {query: max(gallery, key=lambda row, query=query: vectors[row] @ vectors[query]) for query in queries}
    score = {query: float(vectors[best[query]] @ vectors[query]) for query in queries}
    knowns = [query for query in queries if labels[query] in known]
    strange_queries = [query for query in queries if labels[query] in strange]
    area = np.mean([(score[a] > score[b]) + (score[a] == score[b]) / 2 for a in knowns for b in strange_queries])
    first = strange[: (len(strange) + 1) // 2]

    def rejected(classes, threshold):
        shares = [[score[query] <= threshold for query in strange_queries if labels[query] == one] for one in classes]
        return np.mean([np.mean(share) for share in shares])

    choosing = sorted(score[query] for query in strange_queries if labels[query] in first)
    threshold = next(value for value in choosing if rejected(first, value) >= 0.95 - 1e-9)
    accepted = [score[query] > threshold and labels[best[query]] == labels[query] for query in knowns]
    baks = mean_over_classes([labels[query] for query in knowns], accepted)
    return area, baks, rejected([one for one in strange if one not in first], threshold)


def test_the_measures_of_a_set_are_those_of_its_divisions():
    vectors, labels = gaussian_classes(7, 6, seed=1, spread=1.2)
    # A class of a single photo is never divided, and the numbers of the classes have gaps.
    vectors, labels = vectors[5:], 3 * labels[5:]
    found = open_set_stats(torch.from_numpy(vectors), torch.from_numpy(labels), seed=4)
    rng = np.random.default_rng(4)
    measured = []
    for _ in range(10):
        one, other = np.array_split(3 * (1 + rng.permutation(6)), 2)
        measured.append(measures_by_loops(vectors, labels, one, other, rng))
        measured.append(measures_by_loops(vectors, labels, other, one, rng))
    means, spreads = np.mean(measured, axis=0), np.std(measured, axis=0, ddof=1)
    assert found.divided_classes == 6
    np.testing.assert_allclose([found.auroc, found.baks, found.baus], means, atol=1e-6)
    np.testing.assert_allclose([found.auroc_spread, found.baks_spread, found.baus_spread], spreads, atol=1e-6)
    assert 0.5 < found.auroc < 1
    assert 0 < found.baks < 1
    # The twin of OPIS is that of the evaluation, which has the class of a single photo among its negative pairs too.
    assert found.opis == pytest.approx(evaluate(vectors, labels, recalls=(1,), metrics=("opis",))["OPIS"], rel=1e-5)


def test_perfect_classes_and_chance():
    centres = torch.eye(8)[torch.arange(8).repeat_interleave(4)]
    labels = torch.arange(8).repeat_interleave(4)
    perfect = open_set_stats(centres, labels)
    assert (perfect.auroc, perfect.baks, perfect.baus, perfect.opis) == (1, 1, 1, 0)
    # With labels that say nothing about the vectors, known and strange queries are alike.
    vectors, _ = gaussian_classes(10, 40, seed=2)
    chance = open_set_stats(torch.from_numpy(vectors), torch.arange(400) % 10)
    assert chance.auroc == pytest.approx(0.5, abs=0.05)
    assert chance.baus == pytest.approx(0.95, abs=0.03)


def test_the_threshold_is_chosen_on_other_classes_than_it_is_measured_on():
    vectors, labels = (torch.from_numpy(array) for array in gaussian_classes(40, 20, seed=3))
    found = open_set_stats(vectors, labels)
    # On the classes that the threshold is chosen on it would be 0.95 or more in every division.
    assert 0.8 < found.baus < 0.94
    assert found.baus_spread > 0.01
    assert open_set_stats(vectors, labels) == found
    assert open_set_stats(vectors, labels, seed=1) != found


def test_fewer_than_four_classes_with_two_photos_are_not_measured():
    vectors = torch.eye(12)
    assert open_set_stats(vectors[:8], torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])) is None
    assert open_set_stats(vectors[:8], torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])).divided_classes == 4
