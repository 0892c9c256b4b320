import torch
from pytorch_metric_learning.losses import FastAPLoss

from pairlens.core.pairs import Pairs
from pairlens.losses import FastAP
from support.twin_checks import unit_points


def test_agrees_with_pytorch_metric_learning():
    labels = torch.arange(48) % 12
    points = unit_points(48, 16)
    for bins in (4, 10, 25):
        ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()
        value = FastAP(bins)(ours @ ours.T, Pairs.within(labels))
        expected = FastAPLoss(num_bins=bins)(theirs, labels)
        assert abs(value - expected) < 1e-8
        gradients = [torch.autograd.grad(v, x)[0] for v, x in ((value, ours), (expected, theirs))]
        tangent = [g - (g * points).sum(1, keepdim=True) * points for g in gradients]
        assert tangent[0].abs().max() > 1e-4
        assert torch.allclose(*tangent, atol=1e-8)


def test_one_bin_cannot_tell_near_from_far_and_two_can():
    """One positive at d² = 0 and one negative at d² = 4, of one anchor."""
    similarity = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    right = Pairs(torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    assert FastAP(1)(similarity[:1], right) == 0
    # Swapped, the positive is at the last node, where it is one of two references.
    assert FastAP(1)(similarity[1:], right) == 0.5
    # At d² = 2 both count half for the first node: 1 - (½ · ½ / 1 + ½ · 1 / 2).
    assert abs(FastAP(1)(0 * similarity[:1], right) - 0.5) < 1e-12


def test_finite_where_every_distance_lies_on_an_edge_or_beyond():
    labels = torch.arange(8) % 4
    for similarity in (torch.ones(8, 8), -torch.ones(8, 8), torch.full((8, 8), 1.0 + 1e-6), torch.zeros(8, 8)):
        points = similarity.clone().requires_grad_()
        value = FastAP()(points, Pairs.within(labels))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(points.grad).all()
