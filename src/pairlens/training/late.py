"""Numbers of a GPU, read one step after they were sent, so that the GPU is never waited for until it is idle."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor


class Late:
    """A queue of small tensors on their way to the CPU; from the CPU itself they arrive at once.

    >>> late = Late()
    >>> late.send(torch.ones(2), "step 1")
    >>> list(late.receive())
    [(tensor([1., 1.]), 'step 1')]
    """

    def __init__(self) -> None:
        self._under_way: deque[tuple[Tensor, str, torch.cuda.Event | None]] = deque()

    def send(self, values: Tensor, name: str) -> None:
        """Start to copy values, and return before they are there."""
        if not values.is_cuda:
            self._under_way.append((values, name, None))
            return
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._under_way.append((here, name, arrived))

    def receive(self, wait: bool = False) -> Iterator[tuple[Tensor, str]]:
        """Yield what has arrived, in order: all but the last sent from a GPU, with `wait` that too."""
        while self._under_way:
            values, name, arrived = self._under_way[0]
            if arrived is not None:
                if len(self._under_way) == 1 and not wait:
                    return
                arrived.synchronize()
            self._under_way.popleft()
            yield values, name
