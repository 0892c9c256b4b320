"""Ranks of a distributed job (one process each, as torchrun starts them) and the collective operations between them."""

import torch
from torch import Tensor
from torch import distributed as dist


def rank() -> int:
    """Return the rank of this process; 0 if it runs alone.

    >>> rank(), world_size()
    (0, 1)
    """
    return dist.get_rank() if _has_process_group() else 0


def world_size() -> int:
    """Return the number of processes of this job; 1 if this process runs alone."""
    return dist.get_world_size() if _has_process_group() else 1


def _has_process_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def shard(count: int, rank: int, world_size: int) -> slice:
    """Return the contiguous slice of `count` rows that a rank processes; the slices differ by at most one row.

    >>> [shard(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows of all ranks, in rank order and without gradient; the number of rows may differ between ranks.

    This is a collective operation: every rank must call it, and every rank gets bit-identical rows. A process that runs
    alone gets its own tensor back.

    Args:
        tensor: (row, ...) of this rank.

    >>> gather_rows(torch.arange(3))
    tensor([0, 1, 2])
    """
    if world_size() == 1:
        return tensor
    counts = gather_equal_rows(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    # The backends gather tensors of one shape only, so each rank pads its rows to the largest count.
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor.detach()
    parts = gather_equal_rows(padded).split(max(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_equal_rows(tensor: Tensor) -> Tensor:
    """Return the rows of all ranks as `gather_rows` does, for ranks with equal numbers of rows.

    No row count is exchanged, so on a GPU nothing is read back and the stream of kernels does not stall.
    """
    if world_size() == 1:
        return tensor
    joined = tensor.new_empty(world_size() * len(tensor), *tensor.shape[1:])  # (rank · row, ...)
    dist.all_gather_into_tensor(joined, tensor.detach().contiguous())
    return joined


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, without gradient and bit-identical on every rank."""
    if world_size() == 1:
        return tensor
    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return summed


def barrier() -> None:
    """Wait until every rank has reached this call."""
    if world_size() > 1:
        dist.barrier()


def broadcast_text(text: str) -> str:
    """Return the text of rank 0 on every rank; the texts of the other ranks are ignored.

    >>> broadcast_text("found")
    'found'
    """
    if world_size() == 1:
        return text
    # torch.frombuffer rejects an empty buffer.
    encoded = (
        torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.zeros(0, dtype=torch.uint8)
    )
    length = torch.tensor(len(encoded))
    dist.broadcast(length, 0)
    # The other ranks receive into a buffer of the length that rank 0 announced.
    received = torch.zeros(int(length), dtype=torch.uint8) if rank() else encoded
    dist.broadcast(received, 0)
    return received.numpy().tobytes().decode()
