"""Gathering the batches of all ranks with gradient, so that a loss of pairs sees the whole batch."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from pairlens.core.distributed import gather_equal_rows, rank, world_size
from pairlens.core.random_numbers import own_random_numbers


def gather_with_gradient(rows: Tensor, equal: bool = True) -> Tensor:
    """Return the rows of every rank, in the order of the ranks; the rows of this rank receive their gradient.

    Every rank computes the same loss of the same gathered rows, so it has the gradient of its own rows without any
    communication. `DistributedDataParallel` takes the mean over the ranks, but the gradient of a parameter is the sum of the
    ranks' parts; so each part is multiplied by the number of ranks.

    Args:
        rows: (row, ...).
        equal: whether every rank has the same number of rows. If not, the numbers are exchanged first, which on a GPU makes
            the CPU wait.

    >>> gather_with_gradient(torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if world_size() == 1:
        return rows
    counts = [len(rows)] * world_size() if equal else row_counts(rows)
    return _Gather.apply(rows, counts)  # pyright: ignore[reportReturnType]


def gather_batch(
    embeddings: Tensor, labels: Tensor, extra: Mapping[str, Tensor] | None = None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the embeddings (with gradient), the labels and further values of the photos of all ranks.

    The ranks may have different numbers of photos. This is a collective operation: every rank must call it.

    Args:
        embeddings: (photo, dim) of this rank.
        labels: (photo,) of this rank.
        extra: further (photo, ...) values by name, with the same names on every rank.
    """
    counts = row_counts(embeddings)
    gathered = _Gather.apply(embeddings, counts)
    others = {name: _gather(values.to(embeddings.device), counts) for name, values in (extra or {}).items()}
    # The backends cannot communicate about tensors on two devices.
    return gathered, _gather(labels.to(embeddings.device), counts), others  # pyright: ignore[reportReturnType]


def row_counts(rows: Tensor) -> list[int]:
    """Return the number of rows of each rank."""
    return gather_equal_rows(torch.tensor([len(rows)], device=rows.device)).tolist()


def _gather(rows: Tensor, counts: list[int]) -> Tensor:
    if min(counts) == max(counts):
        return gather_equal_rows(rows)
    # The backends gather tensors of one shape only, so each rank pads its rows to the largest count.
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    parts = gather_equal_rows(padded).split(max(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        start = sum(counts[: rank()])
        ctx.own = slice(start, start + counts[rank()])
        return _gather(rows, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.own] * world_size(), None


def check_process_group() -> None:
    """Raise ValueError if this process is one of several that were started together, but they have not joined a group."""
    # torchrun and other launchers set this variable in each process.
    count = os.environ.get("WORLD_SIZE", "1")
    if count not in ("", "1") and not (dist.is_available() and dist.is_initialized()):
        raise ValueError(
            f"this is one of {count} processes (WORLD_SIZE), but they have not joined a process group, so a loss would see "
            "the pairs of one process only; call torch.distributed.init_process_group first, which lets a Criterion gather "
            "the batches of all ranks as pl.gather_with_gradient does, or make it with gather=False"
        )


@contextmanager
def shared_random_numbers(device: torch.device) -> Iterator[None]:
    """Let all ranks draw the same random numbers within the context, so that a miner selects the same pairs on each."""
    seed = torch.randint(1 << 62, (1,), device=device)
    broadcast_from_first([seed])
    with own_random_numbers(int(seed), gpu=device if device.type == "cuda" else None):
        yield


def broadcast_from_first(tensors: list[Tensor]) -> None:
    """Give each rank the values of rank 0, in place."""
    for tensor in tensors:
        dist.broadcast(tensor.detach(), 0)
