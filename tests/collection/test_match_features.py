"""The features of a match against plain loops, and what they refuse."""

import statistics

import numpy as np
import pytest
import torch

from pairlens.collection.match_features import LABELLED, NEAREST, UNLABELLED, match_features


def drawn(ranks, queries=6, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    cosines = -np.sort(-rng.uniform(-0.2, 1, size=(queries, ranks)), axis=1)
    return cosines, rng.integers(3, size=(queries, ranks)), rng.uniform(-0.2, 1, size=(queries, classes))


def labelled_by_loops(cosines, labels, means):
    rows = []
    for near, of, mean in zip(cosines, labels, means, strict=True):
        others = [cosine for cosine, label in zip(near, of, strict=True) if label != of[0]]
        next_class = others[0] if others else near[-1]
        first, second, *_ = sorted(mean, reverse=True)
        rest = sorted(mean)[:-1]
        few, many = near[:5], of[:10]
        agreement = sum(label == of[0] for label in many) / len(many)
        z = (first - statistics.mean(rest)) / (statistics.pstdev(rest) + 1e-6)
        rows.append([near[0], near[0] - next_class, statistics.mean(few), agreement, first, first - second, z])
    return np.array(rows)


def unlabelled_by_loops(cosines):
    rows = []
    for near in map(list, cosines):
        at = [near[min(rank, len(near) - 1)] for rank in range(10)]
        background = near[10:] or near[-1:]
        mean = statistics.mean(background)
        z = (near[0] - mean) / (statistics.pstdev(background) + 1e-6)
        rows.append([at[0], at[0] - at[1], at[0] - at[4], statistics.mean(near[:5]), at[4] - at[9], mean, z])
    return np.array(rows)


@pytest.mark.parametrize("ranks", [1, 2, 7, 10, 11, NEAREST])
def test_features_are_those_of_plain_loops(ranks):
    cosines, labels, means = drawn(ranks)
    np.testing.assert_allclose(
        match_features(cosines, labels, means), labelled_by_loops(cosines, labels, means), atol=1e-5
    )
    np.testing.assert_allclose(match_features(cosines), unlabelled_by_loops(cosines), atol=1e-2, rtol=1e-5)
    assert match_features(cosines, labels, means).shape == (6, len(LABELLED))
    assert match_features(cosines).shape == (6, len(UNLABELLED))


def test_further_ranks_renamed_labels_and_reordered_classes_change_nothing():
    cosines, labels, means = drawn(NEAREST)
    expected = match_features(cosines, labels, means)
    further = np.hstack([cosines, cosines[:, -1:] - 0.1])
    more = np.hstack([labels, labels[:, -1:]])
    np.testing.assert_array_equal(match_features(further, more, means), expected)
    np.testing.assert_array_equal(match_features(cosines, 1000 - 7 * labels, means), expected)
    np.testing.assert_allclose(match_features(cosines, labels, means[:, ::-1]), expected, atol=1e-8)


def test_one_class_has_no_lead():
    features = match_features([[0.9, 0.8]], [[3, 3]], [[0.7]])
    np.testing.assert_allclose(features, [[0.9, 0.1, 0.85, 1, 0.7, 0, 0]], atol=1e-6)


def test_lists_tensors_and_arrays_are_the_same():
    cosines, labels, means = drawn(12)
    single = [np.float32(values) for values in (cosines, means)]
    expected = match_features(single[0], labels, single[1])
    lists = match_features(single[0].tolist(), labels.tolist(), single[1].tolist())
    tensors = match_features(torch.from_numpy(single[0]), torch.from_numpy(labels), torch.from_numpy(single[1]))
    np.testing.assert_array_equal(lists, expected)
    np.testing.assert_array_equal(tensors, expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[0.9]], [[1]]), "labels and class_cosines together"),
        ((np.zeros((2, 0)),), "the collection is empty"),
        (([[0.8, 0.9]],), "best first"),
        (([[0.9, float("nan")]],), "cosines: query 0"),
        (([[0.9]], [[1]], [[float("inf")]]), "class_cosines: query 0"),
        (([[0.9, 0.8]], [[1]], [[0.5]]), "do not belong together"),
        (([[0.9]], [[1.5]], [[0.5]]), "labels must be integers"),
        ((["many"],), "cosines must be a matrix"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        match_features(*arguments)
