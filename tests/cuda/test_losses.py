"""Every loss on a GPU: the values of the CPU in every precision, without blocking."""

import pytest
import torch

from losses.test_losses import DEGENERATE
from support.fake_gpu import taken_for_gpu
from support.loss_cases import CLASSES, DIM, criterion, each_case

PHOTOS = 32
TYPES = [torch.float16, torch.bfloat16]


def batch(number=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(number)
    labels = torch.arange(PHOTOS) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=draw, dtype=torch.float64)
    return (centres[labels] + torch.randn(PHOTOS, DIM, generator=draw, dtype=torch.float64)).to(dtype), labels


def value_and_gradients(made, points, labels, device, half=None):
    """Return, on the CPU and in float64, the loss of the second of two batches and its gradients.

    With `half` the loss, but not its backward pass, is under autocast to that type.
    """
    made, labels = made.to(device), labels.to(device)
    # Rounded to bfloat16, the type with the fewest digits, so that a memory holds equal values in every type.
    made(batch(1, torch.bfloat16)[0].to(device, points.dtype), labels)
    leaf = points.to(device).requires_grad_()
    with torch.autocast(leaf.device.type, half, enabled=half is not None):
        value = made(leaf, labels)
    gradients = torch.autograd.grad(value, [leaf, *made.parameters()])
    assert value.dtype in (torch.float32, torch.float64)
    return value.detach().cpu().double(), [gradient.cpu().double() for gradient in gradients]


def assert_near(found, expected, of_value, of_gradient):
    """Check that value and gradients differ by at most these relative errors."""
    assert torch.allclose(found[0], expected[0], rtol=of_value, atol=of_value / 10)
    for other, gradient in zip(found[1], expected[1], strict=True):
        assert torch.isfinite(other).all()
        assert (other - gradient).norm() <= of_gradient * (gradient.norm() + 1e-3)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradients_equal_those_of_the_cpu_up_to_rounding(loss, source, dtype, device):
    points, labels = batch(dtype=dtype)
    expected = value_and_gradients(criterion(loss, source).to(dtype), points, labels, torch.device("cpu"))
    with taken_for_gpu(device):
        found = value_and_gradients(criterion(loss, source).to(dtype), points, labels, device)
    # Steep losses (a temperature of 0.01, a scale of 256) amplify the rounding of a similarity.
    of_value, of_gradient = (1e-10, 1e-8) if dtype == torch.float64 else (1e-4, 1e-3)
    assert_near(found, expected, of_value, of_gradient)


@each_case
def test_autocast_does_not_change_a_loss(loss, source, device):
    points, labels = batch()
    expected = value_and_gradients(criterion(loss, source), points, labels, device)
    for half in TYPES:
        assert_near(value_and_gradients(criterion(loss, source), points, labels, device, half), expected, 1e-5, 1e-4)


@each_case
def test_half_precision_embeddings_give_the_loss_in_float32_of_their_values(loss, source, device):
    points, labels = batch()
    for half in TYPES:
        rounded = points.to(half)
        expected = value_and_gradients(criterion(loss, source), rounded.float(), labels, device)
        found = value_and_gradients(criterion(loss, source), rounded, labels, device, half)
        # The gradient of the embeddings is rounded to their type.
        assert_near(found, expected, 1e-5, 1e-2)


@each_case
def test_degenerate_batches_give_finite_values_and_gradients(loss, source, device):
    for made in DEGENERATE.values():
        points, labels = made()
        leaf = points.to(device).requires_grad_()
        with taken_for_gpu(device):
            value = criterion(loss, source).to(device)(leaf, labels.to(device))
            (gradient,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@each_case
def test_a_loss_does_not_block_the_cpu(loss, source, device, no_waiting):
    made, (points, labels) = criterion(loss, source).to(device), batch()
    leaf, labels = points.to(device).requires_grad_(), labels.to(device)
    made(leaf, labels).backward()
    with no_waiting():
        made(leaf, labels).backward()
