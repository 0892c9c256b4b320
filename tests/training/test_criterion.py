import pytest
import torch

from pairlens.losses import Circle, SoftTriple, Triplet
from pairlens.training.criterion import Criterion
from pairlens.training.references import Proxies

LABELS = torch.tensor([0, 0, 1, 1])


def test_two_lines_in_anybodys_loop():
    embeddings = torch.randn(4, 8, requires_grad=True)
    criterion = Criterion(Circle())
    criterion(embeddings, LABELS).backward()
    assert embeddings.grad.abs().sum() > 0
    assert not list(criterion.parameters())


def test_the_length_of_an_embedding_does_not_matter():
    embeddings = torch.randn(4, 8)
    lengths = torch.tensor([[0.1], [1.0], [7.0], [100.0]])
    assert torch.allclose(Criterion(Triplet())(embeddings, LABELS), Criterion(Triplet())(embeddings * lengths, LABELS))


def test_a_function_of_similarity_and_pairs_is_a_loss():
    criterion = Criterion(lambda similarity, pairs: similarity[pairs.negative].mean())
    assert criterion(torch.eye(4), LABELS) == 0


def test_centres_are_parameters_and_in_the_state():
    criterion = Criterion(SoftTriple(centers=3), Proxies(classes=2, dim=8, centers=3))
    assert [p.shape for p in criterion.parameters()] == [(6, 8)]
    assert list(criterion.state_dict()) == ["references.vectors"]
    criterion(torch.randn(4, 8), LABELS).backward()
    assert criterion.references.vectors.grad.abs().sum() > 0


def test_the_penalty_on_centres_is_added():
    torch.manual_seed(0)
    proxies, points = Proxies(classes=2, dim=8, centers=3), torch.randn(4, 8)
    with_penalty = Criterion(SoftTriple(centers=3, tau=0.2), proxies)(points, LABELS)
    without = Criterion(SoftTriple(centers=3, tau=0.0), proxies)(points, LABELS)
    assert torch.allclose(with_penalty - without, SoftTriple(centers=3, tau=0.2).penalty(proxies.unit_centers))
    assert with_penalty > without


def test_an_embedding_that_is_not_finite_is_named():
    embeddings = torch.randn(4, 8)
    embeddings[2, 3] = torch.nan
    with pytest.raises(ValueError, match="embedding 2 of the batch is not finite"):
        Criterion(Circle())(embeddings, LABELS)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"takes .photo, dim. embeddings"):
        Criterion(Circle())(torch.randn(3, 8), LABELS)
