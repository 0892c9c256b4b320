import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import CircleLoss
from pytorch_metric_learning.reducers import MeanReducer

from pairlens.core.pairs import Pairs
from pairlens.losses import Circle
from support import naive


def similarities(labels, dim=4, seed=0):
    points = torch.randn(len(labels), dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    points = torch.nn.functional.normalize(points, dim=1)
    return (points @ points.T).requires_grad_()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=10), st.sampled_from([(0.4, 80), (0.25, 256), (0.1, 10)]))
def test_equals_its_plain_loop(labels, setting):
    fast, slow = similarities(labels), similarities(labels)
    value = Circle(*setting)(fast, Pairs.within(torch.tensor(labels)))
    expected = naive.circle(slow, labels, *setting)
    assert abs(value - expected) < 1e-10
    value.backward()
    if expected.requires_grad:
        expected.backward()
        assert torch.allclose(fast.grad, slow.grad, atol=1e-8)


def test_class_level_form_equals_its_plain_loop():
    points = torch.nn.functional.normalize(torch.randn(6, 5, dtype=torch.float64), dim=1)
    proxies = torch.nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=1)
    labels = [0, 3, 1, 2, 0, 3]
    similarity = points @ proxies.T
    value = Circle(0.25, 256)(similarity, Pairs.between(torch.tensor(labels), torch.arange(4)))
    assert abs(value - naive.circle_on_proxies(similarity, labels, 0.25, 256)) < 1e-10


def test_gradient_is_the_closed_form_pair_weight():
    margin, gamma = 0.4, 80
    labels = torch.arange(24) % 6
    similarity = similarities(labels.tolist())
    pairs = Pairs.within(labels)
    Circle(margin, gamma)(similarity, pairs).backward()
    s = similarity.detach()
    logit_p = (gamma * ((s - 1) ** 2 - margin**2)).masked_fill(~pairs.positive, -torch.inf)
    logit_n = (gamma * (s**2 - margin**2)).masked_fill(~pairs.negative | (s < -margin), -torch.inf)
    logit_n = logit_n.masked_fill(pairs.negative & (s < -margin), 0.0)
    z = torch.sigmoid(logit_p.logsumexp(1) + logit_n.logsumexp(1))[:, None]
    weight_p = z * logit_p.softmax(1) * gamma * (1 + margin - s)
    weight_n = z * logit_n.softmax(1) * gamma * (s + margin).clamp(min=0)
    assert torch.allclose(similarity.grad * 24, weight_n - weight_p, atol=1e-10)


def test_no_positive_is_pushed_away_and_no_negative_pulled_closer():
    labels = torch.arange(24) % 6
    similarity, pairs = similarities(labels.tolist()), Pairs.within(labels)
    Circle()(similarity, pairs).backward()
    assert (similarity.grad[pairs.positive] <= 0).all()
    assert (similarity.grad[pairs.negative] >= 0).all()


def test_boundary_is_the_circle():
    """On s_n² + (1 - s_p)² = 2 m² the loss of one positive and one negative is log 2."""
    angle = torch.linspace(0.1, 1.4, 9, dtype=torch.float64)
    radius = 0.25 * 2**0.5
    for s_n, s_p in zip(radius * angle.cos(), 1 - radius * angle.sin(), strict=True):
        pairs = Pairs(torch.tensor([[True, False]]), torch.tensor([[False, True]]))
        value = Circle(0.25, 256)(torch.stack([s_p, s_n])[None], pairs)
        assert abs(value - torch.log(torch.tensor(2.0))) < 1e-6


def test_agrees_with_pytorch_metric_learning():
    labels = torch.arange(64) % 16
    points = torch.nn.functional.normalize(torch.randn(64, 32, dtype=torch.float64), dim=1)
    ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()
    value = Circle(0.4, 80)(ours @ ours.T, Pairs.within(labels))
    expected = CircleLoss(m=0.4, gamma=80, reducer=MeanReducer())(theirs, labels)
    assert abs(value - expected) < 1e-8
    value.backward()
    expected.backward()
    tangent = [t.grad - (t.grad * points).sum(1, keepdim=True) * points for t in (ours, theirs)]
    assert torch.allclose(*tangent, atol=1e-8)
