"""Cosine of the gradients of two losses: whether ranking loss and auxiliary loss change the backbone alike."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairlens.core.distributed import all_reduce_sum


@contextmanager
def watch_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that always holds the inputs of the last call of a module, until the context ends."""
    inputs_of_last_call: list[Tensor] = []

    def store(_: nn.Module, inputs: tuple[Tensor]) -> None:
        inputs_of_last_call[:] = inputs

    handle = module.register_forward_pre_hook(store)
    try:
        yield inputs_of_last_call
    finally:
        handle.remove()


def gradient_cosine(first: Tensor, second: Tensor, features: Tensor) -> float:
    """Return cos(∂first/∂features, ∂second/∂features): 1 if the losses agree, -1 if they are opposed.

    It is measured at the last feature map that both losses share, so no backward pass through the backbone is needed. NaN if
    a loss does not depend on the features, as when the backbone is frozen. The graph is retained for the training step.

    Args:
        first: a scalar loss.
        second: another scalar loss of the same features.
        features: the feature map, of any shape.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> y = 2 * x
    >>> gradient_cosine(y.sum(), (y * torch.tensor([1.0, -1.0])).sum(), y)
    0.0
    """
    if not (features.requires_grad and first.requires_grad and second.requires_grad):
        return math.nan
    # Only the part of the graph between the losses and the features is traversed.
    gradients = [
        torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)[0] for loss in (first, second)
    ]
    if any(gradient is None for gradient in gradients):
        return math.nan
    a, b = (gradient.flatten().double() for gradient in gradients)
    # Each rank has the gradients of its own photos; the sums over the ranks are those of the whole batch.
    products = all_reduce_sum(torch.stack([a @ b, a @ a, b @ b]))
    dot, first_square, second_square = products.tolist()
    length = math.sqrt(first_square * second_square)
    # A loss that is satisfied has a gradient of 0, which has no direction.
    return dot / length if length > 0 else math.nan
