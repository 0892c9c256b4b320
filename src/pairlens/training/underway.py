"""How far an unfinished epoch has come: what a checkpoint in its middle holds beside the weights."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairlens.training.finite import DivergedError, describe
from pairlens.training.late import Late

RECENT = 512


@dataclass
class UnderWay:
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
    late: Late = field(default_factory=Late, repr=False)

    def settle(self, wait: bool = False) -> None:
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
        self.settle(wait=True)
        plain = {**vars(self), "embeddings": list(self.embeddings), "labels": list(self.labels)}
        # NaN is no JSON.
        del plain["late"]
        return {**plain, "cosine": None if math.isnan(self.cosine) else self.cosine}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "UnderWay":
        """Rebuild it from what `state_dict` returned."""
        several = {name: deque(state[name]) for name in ("embeddings", "labels")}
        return cls(**{**state, **several, "cosine": math.nan if state["cosine"] is None else state["cosine"]})
