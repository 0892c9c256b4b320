"""A GPU that is not there: tensors that have a device, a shape and a type, but no numbers.

Tensors on the device "meta" of PyTorch have no numbers, so reading one back raises an error, as it would make a GPU wait.
They go backward as well, which the "cuda" tensors of FakeTensorMode do not without a driver. `fake_gpu` lets them say that
they are on a GPU, so the code takes the way that it takes there.
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
    """An operation has met tensors of the CPU and of the fake GPU, or has copied one to the other."""


class OneDevice(TorchDispatchMode):
    """Raise MixedDevicesError where the CPU and the fake GPU meet; a number of the CPU may take part, as on a real GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        devices = {tensor.device for tensor in tensors if tensor.dim() or name in _COPIES or tensor.device == FAKE_GPU}
        # `torch.tensor(number, device=...)` fills memory of the CPU and copies it; all that is seen of it is its end.
        if len(devices) > 1 or (name.startswith("lift_fresh") and FAKE_GPU in devices):
            where = " and ".join(sorted(map(str, devices)))
            raise MixedDevicesError(f"{func} mixes devices or copies between them ({where})")
        return out


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Let meta tensors say that they are on a GPU, and raise an error where a real one would have to wait."""
    autocast = torch.autocast
    with pytest.MonkeyPatch.context() as patch, OneDevice():
        patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: tensor.device == FAKE_GPU), raising=False)
        # PyTorch knows no autocast of meta tensors.
        patch.setattr(
            torch, "autocast", lambda device, *a, **k: autocast("cpu" if device == "meta" else device, *a, **k)
        )
        yield


@contextmanager
def taken_for_gpu(device: torch.device) -> Iterator[None]:
    """Where the CPU stands in for a GPU, let its tensors take the way of a GPU's, with real numbers; else do nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if device.type == "cpu":
            patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True), raising=False)
        yield
