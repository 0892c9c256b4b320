import pytest
import torch

from pairlens.neighbors.approximate import ApproximateIndex, Hnsw, Ivf, open_index
from pairlens.neighbors.exact import ExactIndex

ALL = torch.arange(900)


@pytest.fixture(scope="module")
def points():
    return torch.randn(900, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", [Ivf(lists=20, probes=20), Hnsw(effort=900)])
def test_with_enough_effort_the_neighbors_are_exact(points, settings):
    gallery = points[torch.cat([ALL[:600], ALL[:300]])]  # a third of them twice
    approximate = ApproximateIndex(gallery, settings).search(gallery, 7, itself=ALL)
    exact = ExactIndex(gallery).search(gallery, 7, itself=ALL)
    assert torch.equal(approximate.indices, exact.indices)
    assert torch.allclose(approximate.scores, exact.scores, atol=1e-6)


@pytest.mark.parametrize("settings", [Ivf(lists=20, probes=1), Hnsw(links=2, build=2, effort=2)])
def test_the_recall_is_measured(points, settings):
    index = ApproximateIndex(points, settings)
    measured = index.measure(points, 10, ALL, itself=ALL)
    approximate = index.search(points, 10, itself=ALL).indices.tolist()
    exact = ExactIndex(points).search(points, 10, itself=ALL).indices.tolist()
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(approximate, exact, strict=True)]
    assert measured.recall == pytest.approx(sum(shares) / 900)
    assert 0.2 < measured.recall < 0.999
    assert (measured.k, measured.queries) == (10, 900)
    assert all(query not in row for query, row in enumerate(approximate))
    assert f"{100 * measured.recall:.2f} % of the 10 nearest" in str(measured)


def test_the_sample_is_taken_from_the_given_rows(points):
    index = ApproximateIndex(points, Ivf(lists=20, probes=1))
    some = ALL[100:160:3]
    whole = index.measure(points, 5, some, itself=some)
    assert whole == index.measure(points[some], 5, torch.arange(20), itself=some)
    assert index.measure(points, 5, ALL, itself=ALL, sample=50).queries == 50


def test_a_query_that_finds_too_few_is_searched_exactly(points):
    index = ApproximateIndex(points, Ivf(lists=20, probes=1))
    approximate, exact = index.search(points[:30], 800), ExactIndex(points).search(points[:30], 800)
    # The two products round differently, so neighbours with nearly equal scores may be in another order.
    assert torch.allclose(approximate.scores, exact.scores, atol=1e-6)
    assert (approximate.indices == exact.indices).double().mean() > 0.99


def test_an_index_has_few_enough_lists_and_bad_settings_are_named(points):
    assert Ivf(lists=500).lists_for(900) == 23
    assert Ivf().lists_for(10) == 1
    assert isinstance(open_index(points, "hnsw"), ApproximateIndex)
    with pytest.raises(ValueError, match="must be exact, ivf, hnsw"):
        open_index(points, "flat")
    with pytest.raises(ValueError, match="probes 0"):
        Ivf(probes=0)
    with pytest.raises(ValueError, match="at least 2"):
        Hnsw(links=1)


def test_a_small_gallery_prints_no_warning_of_faiss(capfd):
    ApproximateIndex(torch.eye(24), Ivf())
    assert capfd.readouterr() == ("", "")
