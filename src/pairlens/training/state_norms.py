"""Norms of the state of a learner, by which a checkpoint is found good or refused.

A step with a finite loss and a finite gradient can still make weights infinite or absurdly large, for example with a
learning rate of 1e30. A checkpoint of such a state would replace the last one from which training can resume.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.training.divergence import DivergedError
from pairlens.training.learner import Learner

# How many times larger than in the last good checkpoint a norm may be. A network that learns changes its weights and its
# proxies by a few per cent between two checkpoints. Statistics of BatchNorm, a memory and the moments of an optimizer begin
# at 0 or 1 and follow the data, so they have far more space; a norm below 1 counts as 1.
MAX_GROWTH = {"weights": 1e3, "loss parameters": 1e3, "statistics": 1e8, "loss memory": 1e8, "optimizer": 1e12}
# The same against the start of the run, for weights that grow by less at each checkpoint, but at all of them.
MAX_GROWTH_OF_A_RUN = {part: limit**1.5 for part, limit in MAX_GROWTH.items()}
REMEDY = "lower --learning_rate or --weight_decay"


@dataclass(frozen=True)
class StateNorms:
    """The Euclidean norm of each part of a learner's state.

    Attributes:
        parts: by the name of the part, as in `MAX_GROWTH`.
        exempt: names of buffers that hold infinite values from the start on purpose, such as the mask of an attention.
    """

    parts: dict[str, float]
    exempt: frozenset[str] = frozenset()

    @classmethod
    def of(cls, learner: Learner) -> "StateNorms":
        """Measure a learner before its first step; buffers that are not finite then never have to be."""
        not_finite = {n for p, n, t in _tensors(learner) if p in ("statistics", "loss memory") and not _is_finite(t)}
        return cls(_norms(learner, frozenset(not_finite)), frozenset(not_finite))

    def next(self, learner: Learner, start: "StateNorms") -> "StateNorms":
        """Return the norms of a later state of the learner.

        Args:
            learner: between two steps.
            start: the norms at the start of the run.

        Raises:
            DivergedError: if a tensor is not finite, or a norm has grown by more than `MAX_GROWTH` since this state, or by
                more than `MAX_GROWTH_OF_A_RUN` since the start.
        """
        for part, name, tensor in _tensors(learner):
            if name not in start.exempt and not _is_finite(tensor):
                raise DivergedError(f"the {part} became infinite or NaN, first in {name}, {_when(learner)}; {REMEDY}")
        norms = _norms(learner, start.exempt)
        for reference, limits, since in (
            (self, MAX_GROWTH, "since the last good checkpoint"),
            (start, MAX_GROWTH_OF_A_RUN, "since the start of the run"),
        ):
            for part, norm in norms.items():
                before = reference.parts.get(part, 0.0)
                if norm > limits[part] * max(before, 1.0):
                    raise DivergedError(
                        f"the norm of the {part} grew from {before:.3g} to {norm:.3g} {since}, {_when(learner)}, and more "
                        f"than {limits[part]:.0e} times as much is no training; {REMEDY}"
                    )
        return StateNorms(norms, start.exempt)


def _when(learner: Learner) -> str:
    steps = "" if learner.progress is None else f" and {learner.progress.step} steps"
    return f"after {learner.epoch} epochs{steps}"


def _tensors(learner: Learner) -> Iterator[tuple[str, str, Tensor]]:
    """Yield each floating-point tensor of the state with the name of its part and its own."""
    owners = ((learner.model, "weights", "statistics"), (learner.criterion, "loss parameters", "loss memory"))
    for module, learned, held in owners:
        for name, parameter in module.named_parameters():
            yield learned, name, parameter.detach()
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                yield held, name, buffer
    for number, state in learner.optimizer.state_dict()["state"].items():
        yield from (("optimizer", f"{name} of parameter {number}", value) for name, value in _floats(state))


def _floats(value: Any, name: str = "state") -> Iterator[tuple[str, Tensor]]:
    """Yield the floating-point tensors of an optimizer's state of one parameter, at any depth."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _floats(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _floats(item, name)


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _norms(learner: Learner, exempt: frozenset[str]) -> dict[str, float]:
    squares = dict.fromkeys(MAX_GROWTH, 0.0)
    for part, name, tensor in _tensors(learner):
        if name not in exempt:
            # In float64, because the square of a weight of 1e20 is infinite in float32.
            squares[part] += float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2
    return {part: math.sqrt(square) for part, square in squares.items()}
