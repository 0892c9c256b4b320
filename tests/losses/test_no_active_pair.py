"""Batches without an active pair: their gradient is 0, and the functions before the loss skip their work."""

import pytest
import torch

from pairlens.core.similarity import cosine_within, self_cosine, unit
from pairlens.losses import AllTriplets, MultiSimilarity, SimilarityContrastive, Sum, Triplet
from pairlens.training.criterion import Criterion

LABELS = torch.arange(12) % 3
FAR = torch.eye(3)[LABELS]  # every class a point of its own
INACTIVE = [Triplet(), AllTriplets(), AllTriplets(semi_hard=True), MultiSimilarity(), SimilarityContrastive()]
each_inactive = pytest.mark.parametrize("loss", [*INACTIVE, Sum((Triplet(), MultiSimilarity()))], ids=str)


@each_inactive
def test_the_gradient_is_dense_zeros(loss):
    points = FAR.clone().requires_grad_()
    value = Criterion(loss)(points, LABELS)
    assert value == 0
    (gradient,) = torch.autograd.grad(value, points)
    # Memory of its own, so that a user can change it in place.
    assert gradient.is_contiguous()
    assert torch.equal(gradient, torch.zeros_like(points)) or isinstance(loss, SimilarityContrastive)


@each_inactive
def test_it_adds_nothing_to_another_loss_of_the_same_similarities(loss):
    points = (FAR + 0.1).requires_grad_()
    similarity = self_cosine(unit(points))
    other = similarity.square().sum()
    (alone,) = torch.autograd.grad(other, points, retain_graph=True)
    value = Criterion(loss)(points, LABELS)
    (both,) = torch.autograd.grad(other + value, points)
    assert torch.allclose(both, alone)


def test_one_active_pair_is_enough():
    points = FAR.clone()
    points[0] = torch.tensor([0.6, 0.8, 0.0])
    for loss in [
        Triplet(),
        AllTriplets(),
        AllTriplets(margin=1.0, semi_hard=True),
        MultiSimilarity(),
        SimilarityContrastive(),
    ]:
        leaf = points.clone().requires_grad_()
        Criterion(loss)(leaf, LABELS).backward()
        assert leaf.grad.abs().max() > 0


@pytest.mark.parametrize("measure", [cosine_within, lambda x: self_cosine(unit(x))], ids=["together", "apart"])
def test_a_constant_gradient_is_not_taken_for_zero(measure):
    """The gradient of a sum is one number shown everywhere, as the gradient of an inactive loss is."""
    points = (FAR + torch.linspace(0, 1, 36).view(12, 3)).requires_grad_()
    (found,) = torch.autograd.grad(measure(points).sum(), points)
    units = torch.nn.functional.normalize(points, dim=1)
    (expected,) = torch.autograd.grad((units @ units.T).sum(), points)
    assert expected.abs().max() > 0.1
    assert torch.allclose(found, expected, atol=1e-6)
