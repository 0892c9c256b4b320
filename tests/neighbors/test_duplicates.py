import pytest
import torch

from pairlens.neighbors import duplicates
from pairlens.neighbors.duplicates import DistinctVectors


def numbered(rows):
    """Return each row's number by first appearance and the distinct rows, from a dictionary of tuples."""
    seen = {}
    return [seen.setdefault(tuple(x + 0.0 for x in row), len(seen)) for row in rows], list(seen)


@pytest.fixture(params=["keys", "keys that collide"])
def _keys(request, monkeypatch):
    if request.param == "keys that collide":
        monkeypatch.setattr(duplicates, "_keys", lambda vectors: torch.arange(len(vectors)) % 3)


@pytest.mark.usefixtures("_keys")
def test_exactly_equal_vectors_share_a_number():
    vectors = torch.randint(-1, 2, (200, 4)).float()
    vectors[::7] *= -1.0  # makes some zeros negative; -0.0 equals 0.0
    distinct = DistinctVectors.from_vectors(vectors)
    group, rows = numbered(vectors.tolist())
    assert len(rows) < 81
    assert torch.equal(distinct.vectors[distinct.group], vectors)
    pairs = {(a, b) for a, b in zip(group, distinct.group.tolist(), strict=True)}
    assert len(pairs) == len(rows) == len(distinct.vectors)
    assert distinct.counts.tolist() == [distinct.group.tolist().count(g) for g in range(len(rows))]


def test_numbers_go_by_first_appearance_over_blocks(monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 5)
    vectors = torch.randn(9, 3)[[4, 4, 1, 8, 1, 4, 0, 2, 8, 3, 3, 5]]
    assert DistinctVectors.from_vectors(vectors).group.tolist() == [0, 0, 1, 2, 1, 0, 3, 4, 2, 5, 5, 6]


def test_distinct_vectors_are_not_copied():
    vectors = torch.randn(30, 3)
    assert DistinctVectors.from_vectors(vectors).vectors is vectors
