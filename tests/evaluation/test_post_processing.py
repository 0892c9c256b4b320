import math

import numpy as np
import pytest
import torch

from pairlens.core.similarity import unit
from pairlens.evaluation import post_processing
from pairlens.evaluation.post_processing import expand_queries, fit_pca, rerank


def drawn(photos: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    """Unit vectors around five directions."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, dim, generator=draw)
    return unit(centres[torch.arange(photos) % 5] + 0.5 * torch.randn(photos, dim, generator=draw))


def test_whitened_training_vectors_have_unit_covariance_and_no_mean():
    train = drawn(200) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1]) + 7
    found = fit_pca(train)
    moved = ((train - found.mean) @ found.matrix).double()
    assert moved.mean(dim=0).abs().max() < 1e-3
    torch.testing.assert_close(torch.cov(moved.T), torch.eye(6, dtype=torch.float64), atol=1e-2, rtol=0)
    torch.testing.assert_close(found(train), unit(moved.float()))


def test_principal_components_are_those_of_a_loop_of_power_iterations():
    train = drawn(80) * torch.tensor([4.0, 3, 2, 1, 0.5, 0.2])
    found = fit_pca(train, 2, whiten=False)
    centred = (train - train.mean(dim=0)).double().numpy()
    covariance = sum(np.outer(row, row) for row in centred) / (len(centred) - 1)
    for column in range(2):
        direction = np.ones(6)
        for _ in range(2000):
            direction = covariance @ direction
            direction /= math.sqrt(sum(direction**2))
        variance = direction @ covariance @ direction
        assert abs(direction @ found.matrix[:, column].double().numpy()) == pytest.approx(1, abs=1e-5)
        covariance = covariance - variance * np.outer(direction, direction)


def test_more_components_than_the_vectors_have_are_refused():
    with pytest.raises(ValueError, match="4 training vectors of 6 dimensions have 3 components; use 1 to 3"):
        fit_pca(drawn(4), 5)
    with pytest.raises(ValueError, match="are all the same, so they have no principal components"):
        fit_pca(torch.ones(4, 6))


@pytest.mark.parametrize("one_set", [True, False])
def test_expanded_queries_equal_a_loop(one_set):
    queries, items = drawn(12), drawn(20, seed=1)
    pool = queries if one_set else items
    expected = []
    for number, query in enumerate(queries):
        scores = [(-float(query @ item), i) for i, item in enumerate(pool) if not (one_set and i == number)]
        total = query.clone()
        for negative, i in sorted(scores)[:4]:
            total += max(-negative, 0.0) ** 2 * pool[i]
        expected.append(total / total.norm())
    found = expand_queries(queries, None if one_set else items, k=4, alpha=2.0)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-6)


def looped_rerank(queries, items, k1, k2, weight):
    """The formulas of the paper with sets and loops."""
    everything = [*queries, *items]
    distance = [[1 - float(a @ b) for b in everything] for a in everything]
    count = range(len(everything))
    order = [sorted(count, key=lambda j, i=i: (distance[i][j], j)) for i in count]

    def reciprocal(p, k):
        return {g for g in order[p][: k + 1] if p in order[g][: k + 1]}

    encoded = []
    for p in count:
        near = reciprocal(p, k1)
        members = set(near)
        for q in near:
            half = reciprocal(q, round(k1 / 2))
            if len(half & near) >= 2 / 3 * len(half):
                members |= half
        weights = {g: math.exp(-distance[p][g]) for g in members}
        encoded.append({g: value / sum(weights.values()) for g, value in weights.items()})
    averaged = [{g: sum(encoded[n].get(g, 0.0) for n in order[p][:k2]) / k2 for g in count} for p in count]
    result = torch.zeros(len(queries), len(items))
    for i in range(len(queries)):
        for j in range(len(items)):
            a, b = averaged[i], averaged[len(queries) + j]
            jaccard = 1 - sum(min(a[g], b[g]) for g in count) / sum(max(a[g], b[g]) for g in count)
            result[i, j] = 1 - ((1 - weight) * jaccard + weight * distance[i][len(queries) + j])
    return result


@pytest.mark.parametrize(("k1", "k2"), [(6, 3), (5, 1), (2, 4)])
def test_reranking_equals_the_loops_of_the_paper(k1, k2):
    queries, items = drawn(8).double(), drawn(17, seed=3).double()
    found = rerank(queries.float(), items.float(), k1=k1, k2=k2, weight=0.3)
    torch.testing.assert_close(found, looped_rerank(queries, items, k1, k2, 0.3), rtol=1e-4, atol=1e-5)


def test_a_set_is_reranked_among_itself():
    photos = drawn(25)
    found = rerank(photos, k1=5, k2=2)
    assert found.shape == (25, 25)
    torch.testing.assert_close(found, found.T, rtol=1e-4, atol=1e-5)
    assert found.argmax(dim=1).tolist() == list(range(25))


def test_reranking_finds_more_of_a_class_than_the_cosine():
    """On noisy classes the neighbours of neighbours agree with the class."""
    photos, labels = drawn(200, dim=12), torch.arange(200) % 5

    def precision(scores):
        best = scores.fill_diagonal_(-9).topk(39).indices
        return float((labels[best] == labels[:, None]).float().mean())

    assert precision(rerank(photos)) > precision(photos @ photos.T) + 0.01


def test_vectors_that_are_all_the_same_have_no_components():
    with pytest.raises(
        ValueError, match="the 6 training vectors are all the same, so they have no principal components"
    ):
        fit_pca(torch.ones(6, 3))
    with pytest.raises(ValueError, match="have 1 components; use 1 to 1"):
        fit_pca(torch.eye(3)[[0, 1, 0, 1]], 2)


def test_a_matrix_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(post_processing, "MAX_SCORES", 99)
    with pytest.raises(ValueError, match="of 10 queries and 10 items in memory"):
        rerank(drawn(10))
