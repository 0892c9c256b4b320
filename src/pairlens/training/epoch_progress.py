"""How far an unfinished epoch has come: what a checkpoint in its middle holds beside the weights.

Numbers of a GPU are read one step after they were sent, so that the GPU is never waited for until it is idle.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairlens.training.divergence import DivergedError, describe

RECENT = 512


class DeferredReads:
    """A queue of small tensors on their way to the CPU; from the CPU itself they arrive at once.

    >>> late = DeferredReads()
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


@dataclass
class EpochProgress:
    """What the steps of an epoch have come to so far.

    Attributes:
        step: how many are taken, also those that were left out.
        skipped: how many were left out, because they were not finite.
        late: what steps came to that is not in the sums yet.
        sums: (4,) photos, total loss, ranking loss, right answers.
        seconds: wall time.
        embeddings: (photo, dim) of each of the last steps, at least `RECENT` photos together.
        labels: (photo,) of the same.
        cosine: of the gradients of ranking and auxiliary loss in the last step; NaN if it was not measured.
    """

    step: int = 0
    skipped: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(4))
    seconds: float = 0.0
    embeddings: deque[Tensor] = field(default_factory=deque)
    labels: deque[Tensor] = field(default_factory=deque)
    cosine: float = math.nan
    late: DeferredReads = field(default_factory=DeferredReads, repr=False)

    def drain(self, wait: bool = False) -> None:
        """Add up what has arrived: (6,) sums, loss and norm of the gradient of a step each; with `wait` of every step.

        Raises:
            DivergedError: if a step has not been finite.
        """
        for values, name in self.late.receive(wait):
            if not torch.isfinite(values[4:]).all():
                raise DivergedError(f"{describe(values[4], values[5])}, {name}")
            self.sums += values[:4]

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep what a step saw, and forget the oldest steps beyond `RECENT` photos."""
        self.embeddings.append(embeddings.float())
        self.labels.append(labels)
        while sum(map(len, self.labels)) - len(self.labels[0]) >= RECENT:
            self.embeddings.popleft()
            self.labels.popleft()

    def state_dict(self) -> dict[str, Any]:
        """Return it as plain data and tensors."""
        self.drain(wait=True)
        plain = {**vars(self), "embeddings": list(self.embeddings), "labels": list(self.labels)}
        # NaN is no JSON.
        del plain["late"]
        return {**plain, "cosine": None if math.isnan(self.cosine) else self.cosine}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "EpochProgress":
        """Rebuild it from what `state_dict` returned."""
        several = {name: deque(state[name]) for name in ("embeddings", "labels")}
        return cls(**{**state, **several, "cosine": math.nan if state["cosine"] is None else state["cosine"]})
