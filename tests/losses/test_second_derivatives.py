"""Second derivatives: the Hessian-vector product of every loss against plain autograd of its plain-loop twin, in float64."""

from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from losses.test_twins import OF_EMBEDDINGS, PROXY_TWINS, SUMS, TWINS, TWINS_OF_CENTERS
from pairlens import losses as ls
from pairlens.core.similarity import cosine_within, distance, self_cosine, unit
from pairlens.losses.protocols import possible_sources
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, Proxies
from support import naive
from support.loss_cases import CLASSES, DIM, criterion, each_case, parameter_name
from support.naive import pairwise, proxies

# Few positives, which are gathered; many, which are masked; and classes of different sizes, one of a single photo.
LAYOUTS = [[*range(5), *range(5)], [0, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 2, 0, 3, 3]]
each_layout = pytest.mark.parametrize("labels", LAYOUTS, ids=["few", "many", "uneven"])


def random_points(count, dim=5, seed=0):
    """Return vectors of different lengths that lie close together, so that hinges are active."""
    rng = torch.Generator().manual_seed(seed)
    return 0.4 + 0.7 * torch.randn(count, dim, dtype=torch.float64, generator=rng)


def hessian_product(measure, *points):
    """Return the product of the Hessian of measure(*points) with a fixed random direction, by two backward passes."""
    leaves = [point.detach().clone().requires_grad_() for point in points]
    gradients = torch.autograd.grad(measure(*leaves), leaves, create_graph=True)
    along = sum((g * random_points(*g.shape, seed=9)).sum() for g in gradients)
    if not along.requires_grad:
        return torch.zeros(sum(leaf.numel() for leaf in leaves), dtype=torch.float64)
    products = torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True)
    return torch.cat([product.flatten() for product in products])


def check_equal(found, expected):
    assert expected.isfinite().all()
    assert (found - expected).norm() <= 1e-8 * expected.norm() + 1e-10


def similarities(points):
    units = F.normalize(points, dim=1)
    return units @ units.T


@each_layout
@pytest.mark.parametrize(("loss", "twin"), TWINS + SUMS, ids=parameter_name)
def test_of_a_batch(loss, twin, labels):
    points = random_points(len(labels))
    expected = hessian_product(lambda x: twin(similarities(x), labels), points)
    check_equal(hessian_product(lambda x: Criterion(loss)(x, torch.tensor(labels)), points), expected)


@pytest.mark.parametrize("labels", LAYOUTS[1:], ids=["many", "uneven"])
@pytest.mark.parametrize(
    ("loss", "twin"),
    [(loss, twin) for loss, twin in TWINS + SUMS if "memory" in possible_sources(loss)],
    ids=parameter_name,
)
def test_of_a_memory(loss, twin, labels):
    """A memory that holds the batch itself: the same pairs, but only the anchors have a gradient."""
    points = random_points(len(labels))
    stored = F.normalize(points, dim=1)
    expected = hessian_product(lambda x: twin(F.normalize(x, dim=1) @ stored.T, labels), points)

    def measure(x):
        memory = CrossBatchMemory(len(labels), x.shape[1]).double()
        return Criterion(loss, memory)(x, torch.tensor(labels))

    check_equal(hessian_product(measure, points), expected)


@pytest.mark.parametrize("classes", [5, 9])
@pytest.mark.parametrize(("loss", "twin"), PROXY_TWINS, ids=parameter_name)
def test_of_proxies(loss, twin, classes):
    """By the embeddings and by the proxies, which are parameters."""
    labels = [0, 2, 2, 4]
    points, vectors = random_points(4), random_points(classes, seed=1)
    expected = hessian_product(
        lambda x, w: twin(F.normalize(x, dim=1) @ F.normalize(w, dim=1).T, labels), points, vectors
    )
    made = Criterion(loss, Proxies(classes, 5)).double()
    check_equal(hessian_product(with_proxies(made, labels), points, vectors), expected)


def with_proxies(made, labels):
    """Return the criterion as a function of embeddings and the vectors of its proxies."""
    return lambda x, w: torch.func.functional_call(made, {"references.vectors": w}, (x, torch.tensor(labels)))


@each_layout
@pytest.mark.parametrize(("loss", "twin"), OF_EMBEDDINGS, ids=parameter_name)
def test_of_embeddings(loss, twin, labels):
    points = random_points(len(labels))
    expected = hessian_product(lambda x: twin(x, labels), points)
    check_equal(hessian_product(lambda x: Criterion(loss)(x, torch.tensor(labels)), points), expected)


@pytest.mark.parametrize("loss", [ls.SoftTriple(2, 5.0, 0.5, 1.0, 0.2), ls.SubCenterArcFace(2, 8.0)], ids=str)
def test_of_centres(loss):
    labels = [0, 2, 1, 0, 3]
    points, vectors = random_points(5), random_points(4 * loss.centers, seed=1)

    def twin(x, w):
        units, centres = F.normalize(x, dim=1), F.normalize(w, dim=1)
        if isinstance(loss, ls.SoftTriple):
            by_class = centres.view(4, loss.centers, -1)
            return naive.soft_triple(units, labels, by_class, loss.lam, loss.gamma, loss.tau, loss.delta)
        return proxies.sub_center_arc_face(units @ centres.T, labels, loss.centers, loss.scale, loss.margin)

    made = Criterion(loss, Proxies(4, 5, loss.centers)).double()
    check_equal(hessian_product(with_proxies(made, labels), points, vectors), hessian_product(twin, points, vectors))


@each_layout
def test_of_margin_and_its_boundary(labels):
    loss = ls.Margin(nu=0.1)
    points, boundary = random_points(len(labels)), torch.full((6, 1), 1.1, dtype=torch.float64)
    made = Criterion(loss, classes=6).double()

    def measure(x, learned):
        return torch.func.functional_call(made, {"learned": learned[:, 0]}, (x, torch.tensor(labels)))

    def twin(x, learned):
        # One boundary for all classes: the mean of equal ones has the same penalty.
        return pairwise.margin(similarities(x), labels, loss.alpha, learned.mean(), loss.nu)

    found, expected = (hessian_product(f, points, boundary) for f in (measure, twin))
    check_equal(found[: points.numel()], expected[: points.numel()])
    assert expected[: points.numel()].norm() > 1e-3


def test_every_loss_is_tested():
    tested = {type(loss) for loss, _ in TWINS + PROXY_TWINS + OF_EMBEDDINGS} | TWINS_OF_CENTERS
    assert tested == set(get_args(ls.Loss))


@each_case
def test_two_backward_passes_agree_with_transforms(loss, source):
    """`torch.func` differentiates the plain form of a loss, so both ways share no gradient; every loss with every source."""
    made = criterion(loss, source).double()
    points, labels = random_points(16, DIM), torch.arange(16) % CLASSES
    if source == "memory":
        made(points, labels)
        made.eval()
    direction = random_points(16, DIM, seed=9)
    gradient = torch.func.grad(lambda x: made(x, labels))
    expected = torch.func.grad(lambda x: (gradient(x) * direction).sum())(points)
    check_equal(hessian_product(lambda x: made(x, labels), points), expected.flatten())


@each_case
def test_identical_and_zero_vectors_have_finite_second_derivatives(loss, source):
    made = criterion(loss, source)
    points, labels = random_points(16, DIM).float(), torch.arange(16) % CLASSES
    points[8] = points[0]
    points[1] = points[2]
    points[3] = 0
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(made(points, labels), points, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), points, allow_unused=True, materialize_grads=True)
    assert second.isfinite().all()


def test_a_gradient_penalty_trains():
    """The use of a second derivative: the penalty on the length of the gradient falls, and its own gradient is right."""
    points = random_points(12).requires_grad_()
    labels = torch.arange(12) % 4
    made = Criterion(ls.SupCon())

    def penalty(x):
        (gradient,) = torch.autograd.grad(made(x, labels), x, create_graph=True)
        return gradient.square().sum()

    assert torch.autograd.gradcheck(penalty, (points,))
    before = penalty(points)
    (step,) = torch.autograd.grad(before, points)
    assert penalty(points - 0.01 * step) < before


@pytest.mark.parametrize("function", [unit, self_cosine, cosine_within, distance], ids=lambda f: f.__name__)
def test_parts_of_every_loss(function):
    points = random_points(4, 3).sigmoid()
    assert torch.autograd.gradgradcheck(function, (points.requires_grad_(),))
