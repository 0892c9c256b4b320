"""Every loss under the transforms of `torch.func` (grad, vmap, jvp, functional_call) and under autocast."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from losses.test_miners import MINERS
from pairlens.losses import Circle, SmoothAP, Triplet
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory
from support.loss_cases import CLASSES, DIM, criterion, each_case

COUNT = 16
LABELS = torch.arange(COUNT) % CLASSES


def batches(number, dtype=torch.float64):
    rng = torch.Generator().manual_seed(3)
    return torch.randn(number, COUNT, DIM, generator=rng, dtype=dtype)


def made_for_transforms(loss, source):
    """Return the criterion in float64; a memory is filled and then kept as it is."""
    made = criterion(loss, source).double()
    if source == "memory":
        made(batches(1)[0], LABELS)
        made.eval()
    return made


def gradient_of(made, points, labels=LABELS):
    leaf = points.clone().requires_grad_()
    return torch.autograd.grad(made(leaf, labels), leaf)[0]


@each_case
def test_grad_is_the_gradient_of_a_backward_pass(loss, source):
    made = made_for_transforms(loss, source)
    points = batches(2)[1]
    gradient, value = torch.func.grad_and_value(lambda x: made(x, LABELS))(points)
    assert torch.allclose(value, made(points, LABELS), atol=1e-12)
    assert torch.allclose(gradient, gradient_of(made, points), atol=1e-10)


@each_case
def test_vmap_is_a_loop_over_batches_each_with_labels_of_its_own(loss, source):
    made = made_for_transforms(loss, source)
    points = batches(3)
    labels = torch.stack([LABELS, LABELS.flip(0), LABELS // 2])
    values = torch.func.vmap(made)(points, labels)
    expected = torch.stack([made(x, y) for x, y in zip(points, labels, strict=True)])
    assert torch.allclose(values, expected, atol=1e-12)
    gradients = torch.func.vmap(torch.func.grad(made))(points, labels)
    loop = torch.stack([gradient_of(made, x, y) for x, y in zip(points, labels, strict=True)])
    assert torch.allclose(gradients, loop, atol=1e-10)


@each_case
def test_vmap_is_a_loop_over_batches_that_share_their_labels(loss, source):
    made = made_for_transforms(loss, source)
    points = batches(2)
    found = torch.func.vmap(torch.func.grad_and_value(lambda x: made(x, LABELS)))(points)
    for one, gradient, value in zip(points, *found, strict=True):
        assert torch.allclose(value, made(one, LABELS), atol=1e-12)
        assert torch.allclose(gradient, gradient_of(made, one), atol=1e-10)


@pytest.mark.parametrize(("labels", "slots"), [(LABELS, 1), (torch.stack([LABELS, LABELS // 2]), COUNT)])
def test_the_few_positives_of_known_labels_are_gathered_within_a_transform(labels, slots, monkeypatch):
    seen, weigh = [], SmoothAP.weigh

    def watch(loss, positive, negative):
        seen.append((positive.similarity.shape[-1], negative.similarity.shape[-1]))
        return weigh(loss, positive, negative)

    monkeypatch.setattr(SmoothAP, "weigh", watch)
    torch.func.vmap(Criterion(SmoothAP()), in_dims=(0, 0 if labels.ndim == 2 else None))(batches(2), labels)
    assert seen == [(slots, COUNT)]


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_gradient_is_traced_as_a_graph(mode):
    made = Criterion(SmoothAP())
    points = batches(1)[0]
    traced = make_fx(lambda x, y: torch.func.grad(lambda e: made(e, y))(x), tracing_mode=mode)(points, LABELS)
    assert torch.allclose(traced(points, LABELS), gradient_of(made, points), atol=1e-10)


# PyTorch itself uses `torch.jit.script` when it first differentiates forward.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@each_case
def test_a_forward_derivative_is_the_gradient_along_the_direction(loss, source):
    made = made_for_transforms(loss, source)
    points, direction = batches(3)[1:]
    _, found = torch.func.jvp(lambda x: made(x, LABELS), (points,), (direction,))
    assert torch.allclose(found, (gradient_of(made, points) * direction).sum(), atol=1e-10)


def test_batches_that_have_no_pairs_give_zero_within_vmap():
    labels = torch.stack([LABELS, torch.zeros_like(LABELS), torch.arange(COUNT)])
    values, gradients = (
        f(batches(3), labels)
        for f in map(torch.func.vmap, (Criterion(SmoothAP()), torch.func.grad(Criterion(SmoothAP()))))
    )
    assert values[0] > 0
    assert values[1:].tolist() == [0, 0]
    assert not gradients[1:].any()


@pytest.mark.parametrize("miner", MINERS, ids=str)
def test_miners(miner):
    made = Criterion(Triplet(), miner=miner)
    points = batches(2)
    torch.manual_seed(0)
    found = torch.func.vmap(torch.func.grad(lambda x: made(x, LABELS)), randomness="same")(points)
    torch.manual_seed(0)
    first = gradient_of(made, points[0])
    assert torch.allclose(found[0], first, atol=1e-10)


def test_a_memory_that_would_change_is_refused_in_one_sentence():
    made = Criterion(Circle(), CrossBatchMemory(64, DIM))
    with pytest.raises(ValueError, match="may not change the memory"):
        torch.func.grad(lambda x: made(x, LABELS))(batches(1, torch.float32)[0])
    assert made.references.filled == 0


@each_case
def test_autocast_keeps_float32(loss, source):
    """Value and gradient are those without autocast, bit by bit, although the backward pass is under autocast, too."""
    points = batches(1, torch.float32)[0]
    made = criterion(loss, source)
    expected = made(points, LABELS), gradient_of(made, points)
    made = criterion(loss, source)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(points, LABELS), gradient_of(made, points)
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
