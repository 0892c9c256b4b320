import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens.core.similarity import unit
from pairlens.neighbors import exact
from pairlens.neighbors.exact import ExactIndex, nearest
from support import naive


def vectors(count, dim=6, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_the_neighbors_are_those_of_a_full_sort():
    queries, gallery = vectors(40), vectors(300, seed=1)
    neighbors = nearest(queries, gallery, k=25)
    similarity = unit(queries) @ unit(gallery).T
    assert torch.equal(neighbors.indices, similarity.argsort(dim=1, descending=True, stable=True)[:, :25])
    assert torch.allclose(neighbors.scores, similarity.gather(1, neighbors.indices), atol=1e-6)


def test_itself_is_excluded_by_index_not_by_score():
    gallery = vectors(5)[[0, 0, 1, 2, 2]]
    neighbors = nearest(gallery, gallery, k=4, itself=torch.arange(5))
    for query, row in enumerate(neighbors.indices.tolist()):
        assert sorted(row) == sorted(set(range(5)) - {query})
    assert neighbors.indices[0, 0] == 1
    assert neighbors.indices[4, 0] == 3


def test_duplicated_photos_come_in_the_order_of_their_index():
    gallery = vectors(3)[[2, 0, 1, 0, 0, 2, 1, 0]]
    neighbors = nearest(gallery[:1], gallery, k=8)
    assert neighbors.indices[0, :2].tolist() == [0, 5]
    for group in ([1, 3, 4, 7], [2, 6]):
        ranks = [neighbors.indices[0].tolist().index(i) for i in group]
        assert ranks == sorted(ranks)


def test_a_collapsed_gallery_is_ranked_by_index():
    gallery = torch.ones(50, 4)
    neighbors = nearest(gallery, gallery, k=3, itself=torch.arange(50))
    assert neighbors.indices[0].tolist() == [1, 2, 3]
    assert neighbors.indices[30].tolist() == [0, 1, 2]
    assert neighbors.indices[1].tolist() == [0, 2, 3]


# Unit vectors whose products are exact in float32, so that equal scores are equal to the last bit.
EXACT = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0), (0.5, 0.5, 0.5, 0.5), (0.5, -0.5, 0.5, -0.5), (0, 0, 0, 0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EXACT), min_size=3, max_size=12), st.data())
def test_ties_of_any_kind_are_ordered_by_index(points, data):
    gallery = torch.tensor(points, dtype=torch.float32)
    k = data.draw(st.integers(1, len(points) - 1))
    neighbors = nearest(gallery, gallery, k, itself=torch.arange(len(points)))
    assert neighbors.indices.tolist() == [naive.ranking(point, points, q)[:k] for q, point in enumerate(points)]


def test_queries_in_chunks_have_the_same_neighbors():
    gallery = vectors(200)
    index = ExactIndex(gallery)
    together = index.search(gallery, 5, itself=torch.arange(200)).indices
    chunks = [index.search(gallery[r], 5, itself=r).indices for r in torch.arange(200).split(64)]
    assert torch.equal(together, torch.cat(chunks))


def test_bad_input_is_an_error_that_names_it():
    gallery = vectors(4)
    with pytest.raises(ValueError, match="requested, but the gallery offers 1 to 3"):
        nearest(gallery, gallery, k=4, itself=torch.arange(4))
    with pytest.raises(ValueError, match="queries have 3 dimensions and the gallery 6"):
        nearest(vectors(1, dim=3), gallery, k=1)
    broken = gallery.clone()
    broken[2, 0] = torch.nan
    with pytest.raises(ValueError, match="vector 2 is not finite"):
        nearest(gallery, broken, k=1)


def test_the_chunked_product_of_a_gpu_gives_the_same_neighbors(monkeypatch):
    gallery = vectors(60)[torch.arange(80) % 60]
    whole = nearest(gallery, gallery, 7, itself=torch.arange(80))
    index = ExactIndex(gallery)
    index._top = index._top_by_products
    monkeypatch.setattr(exact, "GPU_BYTES", 16 * 4 * 60)
    chunked = index.search(gallery, 7, itself=torch.arange(80))
    assert torch.equal(chunked.indices, whole.indices)
    assert torch.allclose(chunked.scores, whole.scores, atol=1e-6)


def ranked(query, gallery, k):
    """The neighbours by a full, stable sort of the products."""
    return (query @ gallery.T).sort(dim=1, descending=True, stable=True).indices[:, :k]


def test_many_ties_and_duplicates_come_in_order_at_any_depth():
    # Vectors of length 1 with coordinates of 0 and 1/2: all products are exact, and most scores are shared by many items.
    gallery = torch.randint(0, 4, (150, 4), generator=torch.Generator().manual_seed(1))
    gallery = torch.nn.functional.one_hot(gallery, 4).flatten(1).float() / 2
    for k in (1, 2, 9, 60, 150):
        assert torch.equal(nearest(gallery, gallery, k).indices, ranked(gallery, gallery, k))


def test_negative_scores_are_ranked_in_full_too():
    gallery = -torch.tensor(EXACT[:2] * 3 + EXACT[3:4])
    neighbors = nearest(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), gallery, 3)
    assert neighbors.indices.tolist() == [[0, 1, 2]]
    assert neighbors.scores.tolist() == [[-0.5, -0.5, -0.5]]


def test_only_a_tie_at_the_last_rank_needs_a_full_ranking(monkeypatch):
    full_rankings = []
    rank = ExactIndex._rank_in_full
    monkeypatch.setattr(
        ExactIndex, "_rank_in_full", lambda self, q, k: full_rankings.append(len(q)) or rank(self, q, k)
    )
    gallery = vectors(100)[torch.arange(120) % 100]
    nearest(gallery, gallery, 10, itself=torch.arange(120))
    assert full_rankings == []
    angles = torch.tensor([0.0, 0.3, -0.3, 0.6, -0.6])
    fan = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert nearest(fan[:1], fan, 3).indices.tolist() == [[0, 1, 2]]
    assert full_rankings == []
    assert nearest(fan[:1], fan, 2).indices.tolist() == [[0, 1]]
    assert full_rankings == [1]


def test_a_vector_whose_norm_overflows_is_named():
    gallery = vectors(4)
    gallery[1] = 1e30
    with pytest.raises(ValueError, match="vector 1 is not finite"):
        nearest(gallery, gallery, k=1)
