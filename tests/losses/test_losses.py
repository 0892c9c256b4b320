"""What every loss must do, whichever it is; each loss's own file tests its formula."""

import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.losses import Circle, SoftTriple, Triplet
from pairlens.training.criterion import Criterion, NoPairsWarning
from pairlens.training.references import Batch, Proxies

CLASSES, DIM = 8, 16


def criterion(loss, references, dim=DIM):
    torch.manual_seed(1)
    centers = loss.centers if isinstance(loss, SoftTriple) else 1
    return Criterion(loss, Batch() if references == "batch" else Proxies(CLASSES, dim, centers))


CASES = [
    (Triplet(), "batch"),
    (Triplet(), "proxies"),
    (Circle(), "batch"),
    (Circle(), "proxies"),
    (Circle(margin=0.25, gamma=256), "batch"),
    (SoftTriple(), "proxies"),
    (SoftTriple(gamma=0.01), "proxies"),
]
each_case = pytest.mark.parametrize(("loss", "references"), CASES, ids=str)


def batch(count=32, dim=DIM, dtype=torch.float64, noise=1.0):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, dim, generator=draw, dtype=torch.float64)
    points = centres[labels] + noise * torch.randn(count, dim, generator=draw, dtype=torch.float64)
    return points.to(dtype).requires_grad_(), labels


def value_and_gradient(measure, points, labels):
    value = measure(points, labels)
    (gradient,) = torch.autograd.grad(value, points)
    return value.detach(), gradient


@each_case
def test_order_of_the_batch_does_not_matter(loss, references):
    points, labels = batch()
    measure = criterion(loss, references).double()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    value, gradient = value_and_gradient(measure, points, labels)
    shuffled = points.detach()[order].requires_grad_()
    again, turned = value_and_gradient(measure, shuffled, labels[order])
    assert torch.allclose(value, again, atol=1e-12)
    assert torch.allclose(gradient[order], turned, atol=1e-12)


@each_case
def test_rotation_of_the_space_does_not_matter(loss, references):
    points, labels = batch()
    measure = criterion(loss, references).double()
    rotation = torch.linalg.qr(torch.randn(DIM, DIM, dtype=torch.float64)).Q
    value = measure(points, labels)
    for parameter in measure.parameters():
        parameter.data = parameter.data @ rotation
    assert torch.allclose(measure(points @ rotation, labels), value, atol=1e-10)


@each_case
def test_float32_has_the_gradient_of_float64(loss, references):
    points, labels = batch(count=512, dim=512, noise=3.0)
    _, exact = value_and_gradient(criterion(loss, references, 512).double(), points, labels)
    single = points.detach().float().requires_grad_()
    measure = criterion(loss, references, 512).double().float()
    _, rounded = value_and_gradient(measure, single, labels)
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(), rounded.double().flatten(), dim=0)
    assert cosine > 0.99999


@each_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_give_finite_gradients(loss, references, dtype):
    points, labels = batch(dtype=dtype)
    with torch.autocast("cpu", dtype):
        value, gradient = value_and_gradient(criterion(loss, references), points, labels)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


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
def test_degenerate_batches_give_finite_values_and_gradients(loss, references, case):
    points, labels = DEGENERATE[case]()
    value, gradient = value_and_gradient(criterion(loss, references), points.requires_grad_(), labels)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [Triplet(), Circle()])
@pytest.mark.parametrize("case", ["all unique", "one class", "one photo"])
def test_a_batch_without_pairs_warns_and_gives_a_zero_with_a_graph(loss, case):
    points, labels = DEGENERATE[case]()
    with pytest.warns(NoPairsWarning, match="teaches"):
        value, gradient = value_and_gradient(Criterion(loss), points.requires_grad_(), labels)
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("loss", [Triplet(), Circle()])
def test_an_anchor_without_a_positive_contributes_nothing(loss):
    points, labels = batch(count=16)
    similarity, pairs = Batch()(torch.nn.functional.normalize(points, dim=1), labels)
    alone = torch.rand(1, 16, dtype=torch.float64)
    joined = Pairs(
        torch.cat([pairs.positive, torch.zeros(1, 16, dtype=torch.bool)]),
        torch.cat([pairs.negative, torch.ones(1, 16, dtype=torch.bool)]),
    )
    assert torch.equal(loss(torch.cat([similarity, alone]), joined), loss(similarity, pairs))


SEPARATING = [(Triplet(), "batch"), (Circle(), "batch"), (Circle(0.25, 256), "proxies"), (SoftTriple(), "proxies")]


@pytest.mark.parametrize(("loss", "references"), SEPARATING, ids=str)
def test_free_points_are_separated_by_the_loss_alone(loss, references):
    """64 free points in 16 classes: the circle loss of the original project collapses here, R@1 falls to 0.

    Centres move at a quarter of the points' rate: were they as fast, they would come to the points instead.
    """
    torch.manual_seed(0)
    labels = torch.arange(64) % 16
    points = torch.randn(64, 32).requires_grad_()
    centers = loss.centers if isinstance(loss, SoftTriple) else 1
    measure = Criterion(loss, Batch() if references == "batch" else Proxies(16, 32, centers))
    groups = [{"params": [points]}, {"params": list(measure.parameters()), "lr": 0.05}]
    optimizer = torch.optim.Adam([g for g in groups if g["params"]], lr=0.2)
    for _ in range(1500):
        optimizer.zero_grad()
        measure(points, labels).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(points.detach(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2)
    assert (labels[similarity.argmax(dim=1)] == labels).all()
    assert similarity[labels[:, None] != labels].mean() < 0.5
