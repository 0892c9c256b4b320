"""Queries and gallery as one record give what the functions of tensors give."""

import pytest
import torch

from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.metrics import mean_similarities
from pairlens.evaluation.per_query import measure_queries
from pairlens.evaluation.retrieval_set import RetrievalSet


def embedded(name, count, seed):
    points = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    paths = tuple(f"{name}{i}.jpg" for i in range(count))
    return Embeddings(torch.nn.functional.normalize(points, dim=1), torch.arange(count) % 5, paths)


QUERIES, GALLERY = embedded("query", 20, 0), embedded("item", 35, 1)


@pytest.mark.parametrize("gallery", [None, GALLERY], ids=["one set", "queries and gallery"])
def test_it_measures_what_the_functions_of_tensors_measure(gallery):
    test = RetrievalSet(QUERIES, gallery)
    tensors = (QUERIES.vectors, QUERIES.labels)
    if gallery is not None:
        tensors += (gallery.vectors, gallery.labels)
    assert test.evaluate((1, 4)) == evaluate(*tensors, recalls=(1, 4))
    assert test.mean_similarities() == mean_similarities(*tensors)
    measured, expected = test.measure((1, 4)), measure_queries(*tensors, recalls=(1, 4))
    assert all(torch.equal(values, expected.values[name]) for name, values in measured.values.items())


def test_the_searched_items_are_the_gallery_or_the_queries_themselves():
    assert RetrievalSet(QUERIES).items is QUERIES
    assert RetrievalSet(QUERIES, GALLERY).items is GALLERY


def test_the_fingerprint_of_the_model_is_noted_on_queries_and_gallery():
    marked = RetrievalSet(QUERIES, GALLERY).made_by("abc")
    assert (marked.queries.model, marked.items.model) == ("abc", "abc")
    assert RetrievalSet(QUERIES).made_by("abc").gallery is None
