import pytest
import torch
from pytorch_metric_learning.losses import SoftTripleLoss

from pairlens.losses import SoftTriple
from pairlens.training.criterion import Criterion
from pairlens.training.references import Proxies
from support import naive

LABELS = torch.tensor([0, 2, 1, 0, 3])


def make_criterion(loss, dim=6):
    torch.manual_seed(0)
    points = torch.randn(len(LABELS), dim, dtype=torch.float64, requires_grad=True)
    return Criterion(loss, Proxies(4, dim, loss.centers)).double(), points


@pytest.mark.parametrize("loss", [SoftTriple(centers=3), SoftTriple(centers=1), SoftTriple(2, 5.0, 0.5, 1.0, 0.2)])
def test_equals_its_plain_loop_penalty_included(loss):
    criterion, points = make_criterion(loss)
    value = criterion(points, LABELS)
    centers = torch.nn.functional.normalize(criterion.references.vectors, dim=1).view(4, loss.centers, -1)
    unit = torch.nn.functional.normalize(points, dim=1)
    expected = naive.soft_triple(unit, LABELS.tolist(), centers, loss.lam, loss.gamma, loss.tau, loss.delta)
    assert abs(value - expected) < 1e-10
    learned = [points, criterion.references.vectors]
    for fast, slow in zip(torch.autograd.grad(value, learned), torch.autograd.grad(expected, learned), strict=True):
        assert torch.allclose(fast, slow, atol=1e-8)


def test_agrees_with_pytorch_metric_learning_without_the_penalty():
    loss = SoftTriple(centers=3, tau=0.0)
    criterion, points = make_criterion(loss)
    peer = SoftTripleLoss(4, 6, centers_per_class=3, la=loss.lam, gamma=loss.gamma, margin=loss.delta).double()
    peer.fc.data = criterion.references.vectors.data.T.clone()
    ours, theirs = criterion(points, LABELS), peer(points, LABELS)
    assert abs(ours - theirs) < 1e-8
    (our_points, our_centers) = torch.autograd.grad(ours, [points, criterion.references.vectors])
    (their_points, their_centers) = torch.autograd.grad(theirs, [points, peer.fc])
    assert torch.allclose(our_points, their_points, atol=1e-8)
    assert torch.allclose(our_centers, their_centers.T, atol=1e-8)


def test_gradient_of_the_pooled_similarity():
    loss = SoftTriple(centers=2, lam=1.0, delta=0.0)
    s = torch.tensor([[0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    q = (s.detach() / loss.gamma).softmax(1)
    pooled = ((s / loss.gamma).softmax(1) * s).sum()
    pooled.backward()
    expected = q * (1 + (s.detach() - (q * s.detach()).sum()) / loss.gamma)
    assert torch.allclose(s.grad, expected, atol=1e-12)


def test_the_proxies_must_have_as_many_centres_as_the_loss():
    with pytest.raises(ValueError, match=r"references=pl\.Proxies"):
        Criterion(SoftTriple())
    with pytest.raises(ValueError, match="needs 10 centre"):
        Criterion(SoftTriple(), Proxies(4, 8))
