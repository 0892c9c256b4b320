import pytest
import torch

from pairlens.core.similarity import unit
from pairlens.evaluation.per_query import measure_queries
from pairlens.evaluation.score_matrix import measure_scores


@pytest.mark.parametrize("one_set", [True, False])
def test_a_matrix_of_cosines_has_the_metrics_of_its_vectors(one_set):
    vectors, labels = unit(torch.randn(60, 4)), torch.arange(60) % 7
    queries, query_labels = (vectors, labels) if one_set else (unit(torch.randn(9, 4)), torch.arange(9))
    gallery = () if one_set else (vectors, labels)
    expected = measure_queries(queries, query_labels, *gallery, recalls=(1, 4))
    found = measure_scores(queries @ vectors.T, query_labels, None if one_set else labels, recalls=(1, 4))
    assert torch.equal(found.queries, expected.queries)
    assert found.values.keys() == expected.values.keys()
    for name, values in expected.values.items():
        torch.testing.assert_close(found.values[name], values)


def test_equal_scores_are_ranked_by_index():
    found = measure_scores(torch.ones(4, 4), torch.tensor([0, 1, 0, 1]), recalls=(1, 2))
    assert found.values["R@1"].tolist() == [0, 0, 1, 0]
    assert found.values["R@2"].tolist() == [1, 0, 1, 1]


def test_a_matrix_that_does_not_fit_the_labels_is_refused():
    with pytest.raises(ValueError, match=r"scores of shape \(3, 2\) do not fit 3 queries and 3 items"):
        measure_scores(torch.ones(3, 2), torch.zeros(3))
