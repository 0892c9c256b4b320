"""A fake GPU: tensors that have a device, a shape and a type, but no numbers.

Tensors on the device "meta" of PyTorch have no numbers, so reading one back, which would block on a real GPU, raises an
error. They support a backward pass, which the "cuda" tensors of FakeTensorMode do not without a driver. `fake_gpu` makes
`is_cuda` true for them, so the code takes the branches for a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FAKE_GPU = torch.device("meta")
_COPIES = {"_to_copy", "copy_", "copy", "lift_fresh", "lift_fresh_copy"}


class MixedDevicesError(AssertionError):
    """An operation combines tensors of the CPU and of the fake GPU, or copies one to the other device."""


class OneDevice(TorchDispatchMode):
    """Raises MixedDevicesError if an operation mixes CPU and fake GPU; CPU scalars are allowed, as on a real GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        devices = {tensor.device for tensor in tensors if tensor.dim() or name in _COPIES or tensor.device == FAKE_GPU}
        # `torch.tensor(number, device=...)` fills CPU memory and copies it; only the last of these operations is dispatched.
        if len(devices) > 1 or (name.startswith("lift_fresh") and FAKE_GPU in devices):
            where = " and ".join(sorted(map(str, devices)))
            raise MixedDevicesError(f"{func} mixes devices or copies between them ({where})")
        return out


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Make `is_cuda` true for meta tensors, and raise an error for every operation that would block on a real GPU."""
    autocast = torch.autocast
    with pytest.MonkeyPatch.context() as patch, OneDevice():
        patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: tensor.device == FAKE_GPU), raising=False)
        # PyTorch has no autocast for meta tensors.
        patch.setattr(
            torch, "autocast", lambda device, *a, **k: autocast("cpu" if device == "meta" else device, *a, **k)
        )
        yield


@contextmanager
def taken_for_gpu(device: torch.device) -> Iterator[None]:
    """If `device` is the CPU, make its tensors take the branches for a GPU, with real numbers; else do nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if device.type == "cpu":
            patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True), raising=False)
        yield
