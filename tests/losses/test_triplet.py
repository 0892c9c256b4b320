import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer

from pairlens.core.pairs import Pairs
from pairlens.losses import Triplet
from support import naive


def similarities(labels, dim=4, seed=0):
    points = torch.randn(len(labels), dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    points = torch.nn.functional.normalize(points, dim=1)
    return (points @ points.T).requires_grad_()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=10), st.sampled_from([0.0, 0.1, 0.7]), st.integers(0, 5))
def test_equals_its_plain_loop(labels, margin, seed):
    fast, slow = similarities(labels, seed=seed), similarities(labels, seed=seed)
    value = Triplet(margin)(fast, Pairs.within(torch.tensor(labels)))
    expected = naive.triplet(slow, labels, margin)
    assert abs(value - expected) < 1e-10
    value.backward()
    if expected.requires_grad:
        expected.backward()
        assert torch.allclose(fast.grad, slow.grad, atol=1e-8)


def test_gradient_is_one_over_the_distance_on_the_hardest_pair():
    similarity = torch.tensor([[1.0, 0.5, -0.5, 0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    pairs = Pairs.between(torch.tensor([0]), torch.tensor([9, 0, 0, 1, 1]))
    pairs = Pairs(pairs.positive, pairs.negative & torch.tensor([False, True, True, True, True]))
    Triplet(margin=0.1)(similarity, pairs).backward()
    expected = torch.tensor([[0, 0, -1 / 3**0.5, 0, 1 / 0.2**0.5]], dtype=torch.float64)
    assert torch.allclose(similarity.grad, expected, atol=1e-12)


def test_agrees_with_pytorch_metric_learning_averaged_over_anchors():
    labels = torch.arange(32) % 8
    points = torch.nn.functional.normalize(torch.randn(32, 16, dtype=torch.float64), dim=1)
    ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()
    value = Triplet(margin=0.1)(ours @ ours.T, Pairs.within(labels))
    peer = TripletMarginLoss(margin=0.1, reducer=MeanReducer())
    expected = peer(theirs, labels, BatchHardMiner()(theirs, labels))
    assert abs(value - expected) < 1e-6
    value.backward()
    expected.backward()
    # Only one of the two normalises, so the gradients differ along the points themselves, which moves no unit vector.
    tangent = [t.grad - (t.grad * points).sum(1, keepdim=True) * points for t in (ours, theirs)]
    assert torch.allclose(*tangent, atol=1e-6)


def test_photos_at_distance_zero_get_gradient_zero():
    similarity = torch.ones(4, 4, requires_grad=True)
    value = Triplet(margin=0.1)(similarity, Pairs.within(torch.tensor([0, 0, 1, 1])))
    value.backward()
    assert value.item() == pytest.approx(0.1)
    assert torch.equal(similarity.grad, torch.zeros(4, 4))
