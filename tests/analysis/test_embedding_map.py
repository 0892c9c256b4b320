import numpy as np
import pytest
import torch

from pairlens.analysis.embedding_map import embed_in_plane
from support.naive import failure_cases as naive
from support.twin_checks import unit_points


def islands(count=5, each=12):
    torch.manual_seed(0)
    labels = torch.arange(count).repeat_interleave(each)
    return torch.nn.functional.normalize(torch.eye(count, 16)[labels] + 0.05 * torch.randn(count * each, 16)), labels


def test_the_same_seed_gives_the_same_map():
    vectors, _ = islands()
    assert np.array_equal(embed_in_plane(vectors, 1).points, embed_in_plane(vectors, 1).points)


def test_classes_that_are_apart_are_apart_on_the_map():
    vectors, labels = islands()
    found = embed_in_plane(vectors)
    centers = np.stack([found.points[labels == c].mean(axis=0) for c in range(5)])
    nearest = np.linalg.norm(found.points[:, None] - centers, axis=2).argmin(axis=1)
    assert (nearest == labels.numpy()).all()
    assert found.trustworthiness > 0.9


def test_trustworthiness_is_its_formula():
    vectors = unit_points(30, 8)
    found = embed_in_plane(vectors)
    by_cosine = (1 - vectors.double() @ vectors.double().T).tolist()
    assert found.trustworthiness == pytest.approx(naive.trustworthiness(by_cosine, found.points.tolist(), 10), abs=1e-6)


@pytest.mark.parametrize("count", [5, 6, 12])
def test_few_photos_and_copies_have_a_map(count):
    assert np.isfinite(embed_in_plane(unit_points(count, 8)).points).all()
    assert np.isfinite(embed_in_plane(torch.eye(8)[:1].repeat(count, 1)).points).all()


def test_too_few_photos_are_refused():
    with pytest.raises(ValueError, match="4 photos are too few"):
        embed_in_plane(unit_points(4, 8))
