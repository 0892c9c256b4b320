"""Progress of an unfinished epoch: what a checkpoint within an epoch stores beside the weights.

Scalars are copied from the GPU asynchronously and read one step later, so training never blocks on a synchronisation.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairlens.training.divergence import DivergedError, describe_not_finite

RECENT_PHOTOS = 512


class DeferredReads:
    """A queue of small tensors that are being copied to the CPU; tensors that are on the CPU arrive at once.

    >>> reads = DeferredReads()
    >>> reads.send(torch.ones(2), "step 1")
    >>> list(reads.receive())
    [(tensor([1., 1.]), 'step 1')]
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, str, torch.cuda.Event | None]] = deque()

    def send(self, values: Tensor, name: str) -> None:
        """Start to copy values to the CPU, and return before the copy is complete."""
        if not values.is_cuda:
            self._pending.append((values, name, None))
            return
        # Only a copy to pinned memory can run while the CPU continues.
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copy.copy_(values, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record()
        self._pending.append((copy, name, arrival))

    def receive(self, wait: bool = False) -> Iterator[tuple[Tensor, str]]:
        """Yield the values that have arrived, in order: all but the last ones sent from a GPU; with `wait` also these."""
        while self._pending:
            values, name, arrival = self._pending[0]
            if arrival is not None:
                # The last copy belongs to the step that is still running; to wait for it would leave the GPU idle.
                if len(self._pending) == 1 and not wait:
                    return
                arrival.synchronize()
            self._pending.popleft()
            yield values, name


class EpochMeans(NamedTuple):
    """Means over the photos of an epoch so far; NaN before the first photo.

    Attributes:
        loss: total loss.
        ranking: ranking loss.
        accuracy: share of photos whose class the auxiliary head predicts; NaN without a head.
    """

    loss: float
    ranking: float
    accuracy: float


@dataclass
class EpochProgress:
    """The steps of an epoch so far.

    Attributes:
        step: number of steps, including those that were left out.
        skipped: number of steps that were left out because they were not finite.
        sums: (4,) number of photos, and the sums of total loss, ranking loss and correct predictions over these photos.
        seconds: wall time.
        embeddings: (photo, dim) of each of the last steps, at least `RECENT_PHOTOS` photos together.
        labels: (photo,) labels of the same photos.
        cosine: cosine of the gradients of ranking and auxiliary loss in the last step; NaN if it was not measured.
        pending: values of steps that are not in the sums yet.
    """

    step: int = 0
    skipped: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(4))
    seconds: float = 0.0
    embeddings: deque[Tensor] = field(default_factory=deque)
    labels: deque[Tensor] = field(default_factory=deque)
    cosine: float = math.nan
    pending: DeferredReads = field(default_factory=DeferredReads, repr=False)

    def drain(self, wait: bool = False) -> None:
        """Add the values that have arrived to the sums; with `wait` the values of every step.

        The values of a step are (6,): the four sums, then the loss and the norm of its gradient, which must be finite.

        Raises:
            DivergedError: if loss or gradient of a step is not finite.
        """
        # A fused optimizer has left out a step that is not finite, so raising the error one step late loses no weights.
        for values, name in self.pending.receive(wait):
            if not torch.isfinite(values[4:]).all():
                raise DivergedError(f"{describe_not_finite(values[4], values[5])}, {name}")
            self.sums += values[:4]

    def means(self) -> EpochMeans:
        """Return the means over the photos whose values have arrived."""
        # Each sum is divided by the first, the number of photos.
        _, loss, ranking, accuracy = (self.sums / self.sums[0]).tolist()
        return EpochMeans(loss, ranking, accuracy)

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add the embeddings of a step, and drop the oldest steps that are not needed for `RECENT_PHOTOS` photos."""
        # With bfloat16 the embeddings are bfloat16 too; their statistics are computed in float32.
        self.embeddings.append(embeddings.float())
        self.labels.append(labels)
        while sum(map(len, self.labels)) - len(self.labels[0]) >= RECENT_PHOTOS:
            self.embeddings.popleft()
            self.labels.popleft()

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as plain data and tensors."""
        # Values that are still being copied would be lost.
        self.drain(wait=True)
        return {
            "step": self.step,
            "skipped": self.skipped,
            "sums": self.sums,
            "seconds": self.seconds,
            "embeddings": list(self.embeddings),
            "labels": list(self.labels),
            # JSON has no NaN.
            "cosine": None if math.isnan(self.cosine) else self.cosine,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "EpochProgress":
        """Rebuild the progress from the result of `state_dict`."""
        embeddings, labels = deque(state["embeddings"]), deque(state["labels"])
        cosine = math.nan if state["cosine"] is None else state["cosine"]
        return cls(**{**state, "embeddings": embeddings, "labels": labels, "cosine": cosine})
