"""Properties that every loss must have; the formula of each loss is tested in its own file."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens import losses as ls
from pairlens.core.pairs import Pairs
from pairlens.losses.protocols import is_embedding_loss, is_learned_loss
from pairlens.training.criterion import NoPairsWarning
from pairlens.training.references import InBatch
from support.loss_cases import (
    BATCH,
    CASES,
    CLASSES,
    DEPENDS_ON_AXES,
    DEPENDS_ON_ORDER,
    DIM,
    MEMORY,
    criterion,
    each_case,
)


def test_every_loss_is_tested():
    assert {type(loss) for loss, _ in CASES} == {*get_args(ls.Loss), ls.Sum}


def batch(count=32, dim=DIM, dtype=torch.float64, noise=1.0, classes=CLASSES):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, dim, generator=rng, dtype=torch.float64)
    points = centres[labels] + noise * torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return points.to(dtype).requires_grad_(), labels


def value_and_gradient(measure, points, labels):
    value = measure(points, labels)
    (gradient,) = torch.autograd.grad(value, points)
    return value.detach(), gradient


@pytest.mark.parametrize(("loss", "source"), [c for c in CASES if c[0] not in DEPENDS_ON_ORDER], ids=str)
def test_order_of_the_batch_does_not_matter(loss, source):
    points, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    value, gradient = value_and_gradient(criterion(loss, source).double(), points, labels)
    shuffled = points.detach()[order].requires_grad_()
    again, permuted = value_and_gradient(criterion(loss, source).double(), shuffled, labels[order])
    assert torch.allclose(value, again, atol=1e-12, rtol=1e-12)
    assert torch.allclose(gradient[order], permuted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("loss", "source"), [c for c in CASES if not isinstance(c[0], DEPENDS_ON_AXES)], ids=str)
def test_rotation_of_the_space_does_not_matter(loss, source):
    points, labels = batch()
    rotation = torch.linalg.qr(torch.randn(DIM, DIM, dtype=torch.float64)).Q
    value = criterion(loss, source).double()(points, labels)
    permuted = criterion(loss, source).double()
    for parameter in permuted.parameters():
        if parameter.ndim == 2:
            parameter.data = parameter.data @ rotation
    assert torch.allclose(permuted(points @ rotation, labels), value, atol=1e-10, rtol=1e-10)


@each_case
def test_float32_has_the_gradient_of_float64(loss, source):
    points, labels = batch(count=256, dim=256, noise=3.0, classes=64)
    _, exact = value_and_gradient(criterion(loss, source, 256, 64).double(), points, labels)
    single = points.detach().float().requires_grad_()
    measure = criterion(loss, source, 256, 64).double().float()
    _, rounded = value_and_gradient(measure, single, labels)
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(), rounded.double().flatten(), dim=0)
    assert cosine > 0.99999


@each_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_give_finite_gradients(loss, source, dtype):
    points, labels = batch(dtype=dtype)
    with torch.autocast("cpu", dtype):
        value, gradient = value_and_gradient(criterion(loss, source), points, labels)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@each_case
@pytest.mark.parametrize(("classes", "dtype"), [(CLASSES, torch.bfloat16), (2, torch.float16)])
def test_autocast_around_a_loss_does_not_change_it(loss, source, classes, dtype):
    points, labels = batch(dtype=torch.float32, classes=classes)
    expected = value_and_gradient(criterion(loss, source), points, labels)
    with torch.autocast("cpu", dtype):
        result = criterion(loss, source)(points, labels)
    assert torch.equal(result, expected[0])
    assert torch.equal(torch.autograd.grad(result, points)[0], expected[1])


DEGENERATE = {
    "all unique": lambda: (torch.randn(6, DIM), torch.arange(6)),
    "one class": lambda: (torch.randn(6, DIM), torch.zeros(6, dtype=torch.long)),
    "all equal": lambda: (torch.ones(6, DIM), torch.tensor([0, 0, 1, 1, 2, 2])),
    "duplicates": lambda: (torch.randn(3, DIM)[[0, 0, 1, 1, 2, 2]], torch.tensor([0, 0, 1, 1, 2, 2])),
    "zero vector": lambda: (torch.randn(4, DIM) * torch.tensor([[0.0], [1], [1], [1]]), torch.tensor([0, 0, 1, 1])),
    "class of one": lambda: (torch.randn(3, DIM), torch.tensor([0, 0, 1])),
    "one photo": lambda: (torch.randn(1, DIM), torch.tensor([0])),
}


@each_case
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.filterwarnings("ignore::pairlens.training.criterion.NoPairsWarning")
def test_degenerate_batches_give_finite_values_and_gradients(loss, source, case):
    points, labels = DEGENERATE[case]()
    value, gradient = value_and_gradient(criterion(loss, source), points.requires_grad_(), labels)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", BATCH, ids=str)
@pytest.mark.parametrize("case", ["all unique", "one class", "one photo"])
def test_a_batch_without_pairs_warns_and_gives_a_zero_with_a_graph(loss, case):
    points, labels = DEGENERATE[case]()
    with pytest.warns(NoPairsWarning, match="the loss is 0"):
        value, gradient = value_and_gradient(criterion(loss, "batch"), points.requires_grad_(), labels)
    assert torch.isfinite(value)
    if not is_embedding_loss(loss):  # their penalty on the embeddings remains
        assert value == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("loss", [x for x in MEMORY if not is_learned_loss(x) and not is_embedding_loss(x)], ids=str)
def test_an_anchor_without_a_positive_contributes_no_loss(loss):
    points, labels = batch(count=16)
    similarity, pairs = InBatch()(torch.nn.functional.normalize(points, dim=1), labels)
    alone = torch.rand(1, 16, dtype=torch.float64)
    joined = Pairs(
        torch.cat([pairs.positive, torch.zeros(1, 16, dtype=torch.bool)]),
        torch.cat([pairs.negative, torch.ones(1, 16, dtype=torch.bool)]),
    )
    assert torch.allclose(loss(torch.cat([similarity, alone]), joined), loss(similarity, pairs), atol=1e-14)


@pytest.mark.parametrize("loss", [x for x in BATCH if not is_learned_loss(x)], ids=str)
def test_labels_above_the_integers_of_float32_are_distinguished(loss):
    points, labels = batch(count=16)
    expected = value_and_gradient(criterion(loss, "batch"), points, labels)
    result = value_and_gradient(criterion(loss, "batch"), points, labels + 2**24)
    assert torch.equal(result[0], expected[0])
    assert torch.equal(result[1], expected[1])


@each_case
def test_nan_is_an_error_that_says_so(loss, source):
    points, labels = batch()
    points.data[3, 2] = torch.nan
    with pytest.raises(ValueError, match="embedding 3 of the batch is not finite"):
        criterion(loss, source)(points, labels)


@pytest.mark.parametrize("loss", [x for x in MEMORY if not is_learned_loss(x) and not is_embedding_loss(x)], ids=str)
def test_nan_in_similarities_is_an_error_that_says_so(loss):
    points, labels = batch()
    similarity, pairs = InBatch()(torch.nn.functional.normalize(points.detach(), dim=1), labels)
    similarity[4, 5] = torch.nan
    with pytest.raises(ValueError, match="anchor 4 and reference 5 is not finite"):
        loss(similarity, pairs)


@each_case
@settings(max_examples=5, deadline=None)
@given(labels=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=20), dim=st.sampled_from([2, 3, 32]))
@pytest.mark.filterwarnings("ignore::pairlens.training.criterion.NoPairsWarning")
def test_any_layout_gives_finite_values_and_gradients(loss, source, labels, dim):
    points = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value, gradient = value_and_gradient(criterion(loss, source, dim), points, torch.tensor(labels))
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


SEPARATING = [
    (ls.Triplet(), "batch"),
    (ls.Circle(), "batch"),
    (ls.MultiSimilarity(), "batch"),
    (ls.NTXent(), "batch"),
    (ls.FastAP(), "batch"),
    (ls.SmoothAP(temperature=0.05), "batch"),
    (ls.Circle(0.25, 256), "proxies"),
    (ls.SoftTriple(), "proxies"),
    (ls.ProxyAnchor(), "proxies"),
]


@pytest.mark.parametrize(("loss", "source"), SEPARATING, ids=str)
def test_free_points_are_separated_by_the_loss_alone(loss, source):
    """64 free points in 16 classes; with the circle loss of the original project they collapse and R@1 falls to 0.

    The learning rate of the centres is a quarter of that of the points; otherwise the centres move to the points, and
    the points stay where they are.
    """
    torch.manual_seed(0)
    labels = torch.arange(64) % 16
    points = torch.randn(64, 32).requires_grad_()
    measure = criterion(loss, source, 32, 16)
    groups = [{"params": [points]}, {"params": list(measure.parameters()), "lr": 0.05}]
    optimizer = torch.optim.Adam([g for g in groups if g["params"]], lr=0.2)
    for _ in range(1000):
        optimizer.zero_grad()
        measure(points, labels).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(points.detach(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2)
    assert (labels[similarity.argmax(dim=1)] == labels).all()
    assert similarity[labels[:, None] != labels].mean() < 0.5
