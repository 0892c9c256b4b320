import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.losses import RecallAtK, SmoothAP, SupAP
from support.naive import smooth_rank
from support.twin_checks import unit_points

LABELS = torch.arange(40) % 10


def batch(dim=5, seed=0):
    points = unit_points(40, dim, seed)
    return points @ points.T, Pairs.within(LABELS)


def test_tends_to_average_precision_by_sorting():
    similarity, pairs = batch()
    exact = smooth_rank.exact_ap_loss(similarity, LABELS.tolist())
    errors = [abs(SmoothAP(t)(similarity, pairs) - exact) for t in (1e-2, 1e-4, 1e-7)]
    assert errors[0] > 1e-3
    assert errors[1] < errors[0]
    assert errors[2] < 1e-9


def official(similarity, labels, temperature):
    """Return the loss of the published code, in which every photo retrieves from the whole batch including itself."""
    values = []
    for a, label in enumerate(labels.tolist()):
        s, same_class = similarity[a], (labels == label).nonzero().flatten().tolist()
        precision = 0.0
        for p in same_class:
            above = ((s - s[p]) / temperature).sigmoid()
            precision += (0.5 + above[same_class].sum()) / (0.5 + above.sum())
        values.append(precision / len(same_class))
    return 1 - torch.stack(values).mean()


def test_counting_the_query_is_what_the_published_code_does():
    similarity, pairs = batch()
    expected = official(similarity, LABELS, 0.01)
    assert abs(SmoothAP(count_query=True)(similarity, pairs) - expected) < 1e-10
    # Its average precision is too high by one positive at rank 1.
    assert SmoothAP()(similarity, pairs) > expected + 0.1


def test_only_differences_of_similarity_count():
    similarity, pairs = batch()
    moved = (similarity + 0.3).requires_grad_()
    value = SmoothAP()(moved, pairs)
    assert abs(value - SmoothAP()(similarity, pairs)) < 1e-12
    (gradient,) = torch.autograd.grad(value, moved)
    assert gradient.abs().max() > 1e-3
    assert gradient.sum(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize("loss", [SmoothAP(), SmoothAP(count_query=True), SupAP(), RecallAtK()], ids=str)
@pytest.mark.parametrize("labels", [[0] * 9, list(range(9)), [0, 0, 1, 1, 2, 2, 3, 3, 4]])
def test_finite_where_all_similarities_are_equal_or_huge(loss, labels):
    for similarity in (torch.ones(9, 9), -torch.ones(9, 9), 1e6 * torch.eye(9), 1e6 * torch.randn(9, 9)):
        points = similarity.clone().requires_grad_()
        value = loss(points, Pairs.within(torch.tensor(labels)))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("loss", [SmoothAP(), SupAP(), RecallAtK()], ids=str)
def test_what_autograd_saves_while_tracing_is_not_cubic(loss):
    """While tracing, every reference may be a positive, so autograd would save (anchor, positive, reference) in chunks."""
    torch._dynamo.reset()
    size, saved = 40, {}
    similarity, pairs = batch()
    similarity = similarity.requires_grad_()

    def save(tensor):
        saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    traced = torch.compile(lambda s: loss(s, pairs), backend=lambda graph, inputs: graph.forward, fullgraph=True)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        value = traced(similarity)
    assert 0 < sum(saved.values()) < 10 * size**2
    (gradient,) = torch.autograd.grad(value, similarity)
    (expected,) = torch.autograd.grad(loss(similarity, pairs), similarity)
    assert torch.allclose(gradient, expected, atol=1e-12)
