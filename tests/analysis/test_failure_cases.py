import pytest
import torch

from pairlens.analysis.failure_cases import confused_classes, hubs, retrieve, worst_queries
from support.naive import failure_cases as naive
from support.twin_checks import unit_points


@pytest.fixture
def scene():
    labels = torch.tensor([0] * 6 + [1] * 5 + [2] * 4 + [3] * 7 + [9])
    torch.manual_seed(3)
    return torch.nn.functional.normalize(unit_points(23, 6) + 0.6 * torch.eye(10, 6)[labels]), labels


def test_the_worst_queries_are_those_of_lowest_average_precision(scene):
    vectors, labels = scene
    plain, known = vectors.tolist(), labels.tolist()
    found = worst_queries(retrieve(vectors, labels), 3)
    values = {q: naive.average_precision_at_r(plain, known, q) for q in range(22)}
    best_of_class = {c: min((values[q][0], q) for q in range(22) if known[q] == c) for c in range(4)}
    expected = [q for _, q in sorted(best_of_class.values())[:3]]
    assert [w.query for w in found] == expected
    for w in found:
        assert (w.average_precision, w.hits) == pytest.approx(values[w.query])
        assert w.relevant == known.count(known[w.query]) - 1


def test_confused_classes_are_counted_as_in_a_plain_loop(scene):
    vectors, labels = scene
    plain, known = vectors.tolist(), labels.tolist()
    found = confused_classes(retrieve(vectors, labels), 4)
    shares = {(a, b): naive.confusion(plain, known, a, b) for a in range(4) for b in range(a + 1, 4)}
    for one in found:
        assert one.share == pytest.approx(shares[tuple(sorted((one.first, one.second)))])
    assert [one.share for one in found] == sorted(shares.values(), reverse=True)[:4]


def test_hubs_are_the_photos_that_most_queries_find(scene):
    vectors, labels = scene
    plain, known = vectors.tolist(), labels.tolist()
    near = [naive.neighbors(plain, q, 10) for q in range(23)]
    counts = [sum(item in found for found in near) for item in range(23)]
    for hub in hubs(retrieve(vectors, labels), 23, 5):
        assert hub.occurrences == counts[hub.item]
        wrong = [q for q in range(23) if hub.item in near[q] and known[q] != known[hub.item]]
        assert sorted(hub.queries) == wrong
        assert hub.wrong == len(wrong)
        ranks = [near[q].index(hub.item) for q in hub.queries]
        assert ranks == sorted(ranks)
    assert hubs(retrieve(vectors, labels), 23, 1)[0].occurrences == max(counts)


def test_queries_are_searched_in_a_gallery_where_there_is_one(scene):
    vectors, labels = scene
    found = retrieve(vectors[:5], labels[:5], vectors[5:], labels[5:])
    assert found.relevant.tolist() == [1] * 5
    assert found.neighbors.shape == (5, 10)
    assert torch.equal(found.neighbor_labels, labels[5:][found.neighbors])
    assert len(hubs(found, 18, 3)) == 3


def test_a_perfect_model_has_no_failures():
    labels = torch.arange(12) // 3
    found = retrieve(torch.eye(4)[labels], labels)
    assert confused_classes(found) == []
    assert all(w.average_precision == 1 for w in worst_queries(found))
