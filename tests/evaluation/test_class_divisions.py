"""Divisions into known and strange classes, and the weights of their queries."""

import numpy as np

from pairlens.evaluation.class_divisions import Queries, halves


def test_every_class_is_strange_equally_often():
    drawn = list(halves(np.arange(9), 6, np.random.default_rng(0)))
    for known, strange in drawn:
        assert sorted([*known, *strange]) == list(range(9))
    assert np.bincount(np.concatenate([strange for _, strange in drawn])).tolist() == [3] * 9
    assert len({tuple(sorted(known)) for known, _ in drawn}) == 6


def test_known_and_strange_queries_weigh_the_same_and_so_do_their_classes():
    classes = np.array([0, 0, 0, 1, 2, 2, 0])
    strange = np.array([False, False, False, False, True, True, True])
    weights = Queries(np.zeros((7, 1)), classes, ~strange, strange).weights()
    np.testing.assert_allclose(weights, 7 * np.array([1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 8, 1 / 8, 1 / 4]))
