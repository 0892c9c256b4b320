"""Infinity and NaN: noticed before they reach a weight, and a step undone as if it had not been."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pairlens.training.criterion import NotFiniteError


class DivergedError(NotFiniteError):
    """A step came to infinity or NaN, and no weight has been moved by it."""


def check_finite_step(loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """Raise NotFiniteError unless a loss and the norm of its gradient are finite; to be called before the optimizer's step.

    One number is read back for both, which is all that it costs on a GPU.
    """
    norm = gradient_norm(parameters)
    # A loss that is not finite may have a gradient of zeros.
    if not bool(torch.isfinite(norm + loss.detach())):
        raise NotFiniteError(describe(loss.detach(), norm))


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the length of the whole gradient, without reading it."""
    return get_total_norm([p.grad for p in parameters if p.grad is not None])


def describe(loss: Tensor, norm: Tensor) -> str:
    """Say which of a loss and the norm of its gradient is not finite."""
    what, value = ("the norm of the gradient", norm) if torch.isfinite(loss) else ("the loss", loss)
    return f"{what} became {float(value)}"


class Rollback:
    """What a step changes before its gradient is known to be finite: statistics of BatchNorm, and a memory."""

    def __init__(self, *modules: nn.Module) -> None:
        """Keep a copy of every buffer and every extra state of some modules."""
        self._modules = modules
        self._buffers = [buffer.clone() for buffer in self._each_buffer()]
        self._extra: list[tuple[nn.Module, Any]] = [
            (part, part.get_extra_state())
            for module in modules
            for part in module.modules()
            if type(part).get_extra_state is not nn.Module.get_extra_state
        ]

    def __call__(self) -> None:
        """Put everything back."""
        for buffer, before in zip(self._each_buffer(), self._buffers, strict=True):
            buffer.copy_(before)
        for part, state in self._extra:
            part.set_extra_state(state)

    def _each_buffer(self) -> Iterable[Tensor]:
        return (buffer for module in self._modules for buffer in module.buffers())
