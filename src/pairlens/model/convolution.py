"""Convolution on a CPU: by oneDNN also in one thread, and with a faster gradient.

The gradient of the bias is a sum, and that of the weight of a wide depthwise kernel is computed in narrow pieces.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.tracing import is_traced

# oneDNN computes the gradient of a depthwise weight by a kernel of its own only up to this width. For a wider one it uses
# the kernel of a full convolution, which multiplies 16 x 16 channels where one of them is needed.
MAX_DEPTHWISE_WIDTH = 3
# In one thread PyTorch gives smaller batches than this to a kernel of its own, which takes half as long again as oneDNN.
ONEDNN_BATCH = 16


class Geometry(NamedTuple):
    """How a convolution moves over a map: the arguments of `F.conv2d` after its bias."""

    stride: tuple[int, ...] = (1, 1)
    padding: Any = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


def convolve(maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return `F.conv2d`; on a CPU it and its gradient take less time and are equal within rounding.

    Only the order of the sums differs. Second derivatives are those of PyTorch.

    Shapes:
        maps: (photo, channel, height, width).
        weight: (output channel, channel / groups, kernel height, kernel width).
        result: (photo, output channel, output height, output width).

    >>> maps, weight = torch.ones(1, 2, 8, 8), torch.ones(2, 1, 5, 5, requires_grad=True)
    >>> convolve(maps, weight, None, Geometry(padding=(2, 2), groups=2)).sum().backward()
    >>> weight.grad[0, 0, 0].tolist()
    [36.0, 42.0, 48.0, 42.0, 36.0]
    """
    # A trace or a transform differentiates `F.conv2d` by rules of its own. Only `F.conv2d` takes a padding that is a word,
    # same or valid.
    if maps.device.type != "cpu" or isinstance(geometry.padding, str) or is_traced():
        return F.conv2d(maps, weight, bias, *geometry)
    if not torch.is_grad_enabled() or not _need_gradient(maps, weight, bias):
        return _forward(maps, weight, bias, geometry)
    if not weight.requires_grad:
        # A frozen weight has no gradient, and that of the maps is PyTorch's.
        return F.conv2d(maps, weight, bias, *geometry)
    # Autocast does not see what happens inside of a function with its own gradient. It leaves float64 as it is.
    if torch.is_autocast_enabled("cpu") and maps.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        bias = None if bias is None else bias.to(dtype)
        return _Convolution.apply(maps.to(dtype), weight.to(dtype), bias, geometry)  # pyright: ignore[reportReturnType]
    return _Convolution.apply(maps, weight, bias, geometry)  # pyright: ignore[reportReturnType]


def _need_gradient(*tensors: Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _forward(maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return `F.conv2d` without a gradient, by oneDNN also where PyTorch would not use it."""
    is_left_out = 0 < len(maps) < ONEDNN_BATCH and torch.get_num_threads() == 1
    if not (is_left_out and maps.dtype == torch.float32 and has_onednn() and not torch.is_autocast_enabled("cpu")):
        return F.conv2d(maps, weight, bias, *geometry)
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.mkldnn_convolution(maps, weight, bias, padding, stride, dilation, groups)


def has_onednn() -> bool:
    """Return whether this processor computes convolutions by oneDNN as it was measured."""
    # On other processors than those of Intel and AMD, PyTorch has other rules, which were not measured.
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.geometry = geometry
        ctx.save_for_backward(maps, weight)
        return _forward(maps, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        maps, weight = ctx.saved_tensors
        of_maps, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            maps_gradient(gradient, maps, weight, ctx.geometry) if of_maps else None,
            weight_gradient(gradient, maps, weight, ctx.geometry) if of_weight else None,
            # oneDNN adds it up beside the gradient of the weight, which takes several times as long as a sum.
            gradient.sum(dim=(0, 2, 3)) if of_bias else None,
            None,
        )


def maps_gradient(gradient: Tensor, maps: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the input of a convolution; the arguments are those of `weight_gradient`."""
    if maps.dtype == torch.bfloat16 and geometry.groups > 1 and geometry.stride != (1, 1):
        # oneDNN has no fast kernel for this case in bfloat16; in float32 it takes less than a tenth of the time.
        return _native(gradient.float(), maps.float(), weight.float(), geometry, 0).to(maps.dtype)
    return _native(gradient, maps, weight, geometry, 0)


def weight_gradient(gradient: Tensor, maps: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the weight of a convolution, for a wide depthwise kernel in pieces of three columns.

    dW[c, i, j] = Σ over photos and places of gradient[c, y, x] · maps[c, y·s + i, x·s + j] for stride s. Column j of the
    kernel sees only the columns of the padded map from j on, so three columns of the gradient are those of a kernel of
    three columns on a map that is cut to what they see.

    Args:
        gradient: (photo, output channel, output height, output width) the gradient of the output.
        maps: the input, (photo, channel, height, width).
        weight: the weight, of which only the shape is used.
        geometry: stride, padding, dilation and groups.
    """
    width = weight.shape[3]
    is_depthwise = geometry.groups == maps.shape[1] == weight.shape[0]
    if not is_depthwise or width <= MAX_DEPTHWISE_WIDTH or geometry.dilation != (1, 1):
        return _native(gradient, maps, weight, geometry, 1)
    narrow = geometry._replace(padding=(geometry.padding[0], 0))
    seen = (gradient.shape[3] - 1) * geometry.stride[1] + MAX_DEPTHWISE_WIDTH
    pieces = []
    for first in range(0, width, MAX_DEPTHWISE_WIDTH):
        # The last piece ends with the kernel, so it may repeat columns of the piece before it.
        start = min(first, width - MAX_DEPTHWISE_WIDTH)
        left = geometry.padding[1] - start
        # A negative number of columns to be added is cut off.
        cut = F.pad(maps, (left, seen - left - maps.shape[3]))
        columns = weight[..., start : start + MAX_DEPTHWISE_WIDTH]
        pieces.append(_native(gradient, cut, columns, narrow, 1)[..., first - start :])
    return torch.cat(pieces, dim=3)


def _native(gradient: Tensor, maps: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor:
    """Return the gradient of the maps (0) or of the weight (1) as PyTorch computes it."""
    wanted = [which == 0, which == 1, False]
    stride, padding, dilation, groups = geometry
    gradients = torch.ops.aten.convolution_backward(
        gradient, maps, weight, None, stride, padding, dilation, False, (0, 0), groups, wanted
    )
    return gradients[which]
