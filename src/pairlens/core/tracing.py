"""Whether code runs on real values that Python may read, or is transformed by PyTorch and must not depend on them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Computed = TypeVar("Computed")


def is_transformed() -> bool:
    """Return whether a transform of `torch.func` (grad, vmap, jvp, ...) runs the code.

    These transforms differentiate and batch each operation on their own, so the code may use plain operations only.

    >>> is_transformed(), torch.func.vmap(lambda x: x + is_transformed())(torch.zeros(2))
    (False, tensor([1., 1.]))
    """
    # PyTorch has no public question; `torch.autograd.Function.apply` itself asks this one. The compiler cannot follow it.
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def is_traced() -> bool:
    """Return whether `torch.compile` or a transform of `torch.func` runs the code.

    Then no shape and no branch may depend on a value, because there are no values (`torch.compile`) or many (`vmap`).

    >>> is_traced()
    False
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def is_readable(tensor: Tensor) -> bool:
    """Return whether Python may read values of a tensor: it is not traced, and reading it does not stall a GPU.

    >>> is_readable(torch.zeros(2))
    True
    """
    return not tensor.is_cuda and not is_traced()


def is_known(tensor: Tensor) -> bool:
    """Return whether a tensor has the same values for all that a transform of `torch.func` computes at a time.

    The pairs of one batch have, for example, while `vmap` evaluates many similarities of them.

    >>> is_known(torch.zeros(2)), torch.func.vmap(lambda x: x + is_known(x))(torch.zeros(2))
    (True, tensor([0., 0.]))
    """
    # `make_fx` and other tracers record operations in a mode of this stack, and their tensors may have no values. The
    # compiler can follow neither question.
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    # PyTorch has no public question here either.
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor  # pyright: ignore[reportAttributeAccessIssue]
    return not is_wrapped(tensor)


def computed_once(record: Any, name: str, compute: Callable[[], Computed]) -> Computed:
    """Return what `compute` returns, and keep it in a record that does not change; a trace computes it each time.

    `functools.cached_property` does the same behind a lock, which `torch.compile` cannot follow.

    >>> class Record: pass
    >>> record = Record()
    >>> computed_once(record, "_length", lambda: 3), computed_once(record, "_length", lambda: 4)
    (3, 3)
    """
    if is_traced():
        return compute()
    # The attributes of a frozen record can only be written like this.
    known = record.__dict__
    if name not in known:
        known[name] = compute()
    return known[name]
