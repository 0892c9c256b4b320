"""Counts of what a function computes, as measures of its cost that do not depend on the machine or its other work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class OperationCount:
    """The cost of a forward and a backward pass.

    Attributes:
        computed: number of elements of the results of all operations.
        saved: bytes that autograd keeps for the backward pass.
    """

    computed: int
    saved: int


def count_operations(function: Callable[[], Tensor]) -> OperationCount:
    """Return the cost of a function that returns a scalar with a gradient.

    >>> x = torch.ones(10, requires_grad=True)
    >>> count_operations(lambda: x.exp().sum())
    OperationCount(computed=22, saved=40)
    """
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        # A tensor and its views share one storage, which is counted once. It is alive until the backward pass, so no
        # other storage can have its address.
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    counter = _ElementCounter()
    with counter, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function().backward()
    return OperationCount(counter.elements, sum(storages.values()))


class _ElementCounter(TorchDispatchMode):
    """Adds up the elements of the results of all operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        # A view, such as a transposed matrix, costs nothing.
        if not func.is_view:
            listed = results if isinstance(results, tuple | list) else (results,)
            self.elements += sum(result.numel() for result in listed if isinstance(result, Tensor))
        return results
