"""A function of many photos, worked out a few at a time, with the memory of a few."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def run_in_micro_batches(
    function: Callable[[Tensor], tuple[Tensor, ...]], photos: Tensor, size: int
) -> tuple[Tensor, ...]:
    """Return what a function gives for each photo, and keep nothing that lies between.

    In the backward pass each chunk is worked out once more, with the random numbers of the first time, and its gradient
    taken before the next one is begun. So a loss of all photos costs the memory of `size` photos, and about a third more
    time; its gradient is the same, if the function treats each photo by itself.

    Source: Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021,
    arXiv 2101.06983 (gradient cache), and Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016,
    arXiv 1604.06174, by whose function in PyTorch it is done.

    >>> photos = torch.ones(5, 2, requires_grad=True)
    >>> (squares,) = run_in_micro_batches(lambda x: (x**2,), photos, 2)
    >>> squares.sum().backward()
    >>> photos.grad.sum()
    tensor(20.)
    """
    parts: list[tuple[Tensor, ...]] = []
    for chunk in photos.split(size):
        # A weight cast once for all chunks would add up their gradients in bfloat16.
        torch.clear_autocast_cache()
        parts.append(checkpoint(function, chunk, use_reentrant=False))
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))
