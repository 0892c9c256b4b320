"""The processes that work on one job together, as torchrun starts them: which one this is, and what all of them hold."""

import torch
from torch import Tensor
from torch import distributed as dist


def rank() -> int:
    """Return the number of this process among those that work together; 0 if it works alone.

    >>> rank(), world_size()
    (0, 1)
    """
    return dist.get_rank() if _together() else 0


def world_size() -> int:
    """Return how many processes work together; 1 if this one works alone."""
    return dist.get_world_size() if _together() else 1


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def shard(count: int, rank: int, world_size: int) -> slice:
    """Return which of `count` rows a rank takes: neighbours, in the order of the ranks, as evenly as can be.

    >>> [shard(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows of every rank, in the order of the ranks, without gradient; ranks may have unequally many.

    Every rank must call it, and gets the same bits. A process that works alone gets its tensor back.

    >>> gather_rows(torch.arange(3))
    tensor([0, 1, 2])
    """
    if world_size() == 1:
        return tensor
    counts = gather_equal_rows(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor.detach()
    parts = gather_equal_rows(padded).split(max(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_equal_rows(tensor: Tensor) -> Tensor:
    """Return the rows of every rank as `gather_rows` does, where all have equally many: nothing is read back."""
    if world_size() == 1:
        return tensor
    joined = tensor.new_empty(world_size() * len(tensor), *tensor.shape[1:])
    dist.all_gather_into_tensor(joined, tensor.detach().contiguous())
    return joined


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum over the ranks of a tensor of one shape, without gradient, the same bits on each."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return summed


def barrier() -> None:
    """Go on when every rank has come here."""
    if world_size() > 1:
        dist.barrier()


def broadcast_text(text: str) -> str:
    """Return on every rank the text that rank 0 gives; what the others give is not looked at.

    >>> broadcast_text("found")
    'found'
    """
    if world_size() == 1:
        return text
    written = (
        torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.zeros(0, dtype=torch.uint8)
    )
    length = torch.tensor(len(written))
    dist.broadcast(length, 0)
    if rank():
        written = torch.zeros(int(length), dtype=torch.uint8)
    dist.broadcast(written, 0)
    return written.numpy().tobytes().decode()
