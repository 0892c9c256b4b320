"""Whether the ranking loss and the auxiliary loss want the same of the backbone."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairlens.core.distributed import all_reduce_sum


@contextmanager
def watch_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """Hold what a module was given last while the context lasts."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[:] = inputs

    handle = module.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def gradient_cosine(first: Tensor, second: Tensor, features: Tensor) -> float:
    """Return cos(∂first/∂features, ∂second/∂features): 1 the two losses agree, 0 they do not meet, -1 they fight.

    Taken at the last map that both share, so that the backbone is not gone through again. NaN where a loss does not
    depend on the map, as when the backbone stands still. The graph is kept for the training step.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> y = 2 * x
    >>> gradient_cosine(y.sum(), (y * torch.tensor([1.0, -1.0])).sum(), y)
    0.0
    """
    if not (features.requires_grad and first.requires_grad and second.requires_grad):
        return math.nan
    gradients = [
        torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)[0] for loss in (first, second)
    ]
    if any(gradient is None for gradient in gradients):
        return math.nan
    a, b = (gradient.flatten().double() for gradient in gradients)
    # Each rank has the gradients of its own photos.
    dot, first_square, second_square = all_reduce_sum(torch.stack([a @ b, a @ a, b @ b])).tolist()
    length = math.sqrt(first_square * second_square)
    return dot / length if length > 0 else math.nan
