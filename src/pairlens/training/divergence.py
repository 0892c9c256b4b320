"""Divergence: detection of losses and gradients that are not finite, and rollback of such a step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pairlens.training.criterion import NotFiniteError


class DivergedError(NotFiniteError):
    """A loss or gradient is infinite or NaN; the step has not changed any weight."""


def check_finite_step(loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """Raise NotFiniteError if a loss or the norm of its gradient is not finite; to be called before the optimizer's step.

    Only one number is read back for both, because each read makes the CPU wait for the GPU.
    """
    norm = gradient_norm(parameters)
    # Both are checked, because a loss that is not finite can have a gradient of zeros.
    if not bool(torch.isfinite(norm + loss.detach())):
        raise NotFiniteError(describe_not_finite(loss.detach(), norm))


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm of the gradient over all parameters as a tensor on their device, without reading it back."""
    return get_total_norm([p.grad for p in parameters if p.grad is not None])


def describe_not_finite(loss: Tensor, norm: Tensor) -> str:
    """Return a clause that names the loss, or the norm of its gradient, and its value that is not finite."""
    name, value = ("the norm of the gradient", norm) if torch.isfinite(loss) else ("the loss", loss)
    return f"{name} became {float(value)}"


class Rollback:
    """A copy of what a forward pass changes: the buffers (statistics of BatchNorm) and the state of a memory.

    Weights need no copy, because the optimizer moves them only after the gradient is known to be finite.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """Copy every buffer and every extra state of the modules."""
        self._modules = modules
        self._buffers = [buffer.clone() for buffer in self._each_buffer()]
        self._extra_states: list[tuple[nn.Module, Any]] = [
            (part, part.get_extra_state())
            for module in modules
            for part in module.modules()
            # `nn.Module.get_extra_state` raises an error unless a subclass overrides it.
            if type(part).get_extra_state is not nn.Module.get_extra_state
        ]

    def restore(self) -> None:
        """Copy everything back."""
        # In place, because other code holds references to the buffers.
        for buffer, saved in zip(self._each_buffer(), self._buffers, strict=True):
            buffer.copy_(saved)
        for part, state in self._extra_states:
            part.set_extra_state(state)

    def _each_buffer(self) -> Iterable[Tensor]:
        return (buffer for module in self._modules for buffer in module.buffers())
