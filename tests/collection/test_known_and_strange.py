"""Divisions into known and strange classes, and the weights of their queries."""

import numpy as np

from pairlens.collection.known_and_strange import class_means, divided
from pairlens.collection.match_features import NEAREST, match_features
from pairlens.evaluation.class_divisions import LabelledVectors
from support.gaussian_classes import gaussian_classes


def test_a_division_is_what_a_search_of_its_gallery_finds():
    vectors, labels = gaussian_classes(8, 20, seed=0)
    photos = LabelledVectors.of(vectors, labels)
    known, strange = np.array([0, 2, 4, 6, 7]), np.array([1, 3])
    queries = divided(photos, known, strange, True, np.random.default_rng(3))
    # The same draws, one after the other.
    rng = np.random.default_rng(3)
    shuffled = [rng.permutation(np.flatnonzero(labels == one)) for one in known]
    gallery = np.concatenate([one[:10] for one in shuffled])
    rows = [*np.concatenate([one[10:] for one in shuffled]), *np.flatnonzero(np.isin(labels, strange))]
    assert len(queries.classes) == len(rows) == 90
    means = np.stack([vectors[one[:10]].mean(axis=0) for one in shuffled])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    for position, row in enumerate(rows):
        cosines = vectors[gallery] @ vectors[row]
        order = np.argsort(-cosines)[:NEAREST]
        own = match_features([cosines[order]], [labels[gallery[order]]], [means @ vectors[row]])
        np.testing.assert_allclose(queries.features[position], own[0], atol=2e-3)
        assert queries.is_strange[position] == (labels[row] in strange)
        assert queries.is_right[position] == (labels[gallery[order[0]]] == labels[row])


def test_opposite_vectors_have_no_mean_direction():
    means = class_means([np.float32([[1, 0], [-1, 0]]), np.float32([[0, 2], [0, 4]])])
    np.testing.assert_array_equal(means, [[0, 0], [0, 1]])
