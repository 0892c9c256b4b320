"""Convolutions of a network that does not change, prepared for few photos on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.core.tracing import is_traced
from pairlens.model.batchnorm import FusedPair, find_fused_pairs, fused_weights, mark_activated, pad_by_size
from pairlens.model.convolution import has_onednn

# How oneDNN names the activations that it computes as PyTorch does, to the last bit, and their bounds.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


@contextmanager
def packed_convolutions(network: object) -> Iterator[None]:
    """Let the convolutions of a network be packed while its weights do not change, see `pack_convolutions`.

    Args:
        network: what is no network of PyTorch is left as it is.
    """
    packed = pack_convolutions(network)
    try:
        yield
    finally:
        for convolution in packed:
            convolution.pair.conv.forward = convolution.ordinary


def pack_convolutions(network: object) -> "list[PackedConvolution]":
    """Prepare the convolutions of a network for forward passes on a CPU, and return them.

    A convolution that is fused with its BatchNorm computes its fused weight at every call, and oneDNN copies that into a
    layout of its own: with one photo, a third of the time of a pass. A packed convolution does both once, when it is called
    first, and applies an activation that follows without another pass over the map. The function is the same.

    The caller may not change weights or statistics afterwards. Packed weights are used on a CPU of Intel or AMD, in float32
    and without gradients; elsewhere, and in training mode, the layers compute as before. They take as much memory as
    the weights themselves, and twice as much where several threads compute both single photos and batches.

    Args:
        network: what is no network of PyTorch, or is compiled, is left as it is.

    >>> from pairlens.model.backbone import Backbone
    >>> backbone, photo = Backbone("test_resnet", "none", "none", 32).eval(), torch.randn(1, 3, 32, 32)
    >>> with torch.no_grad(), packed_convolutions(backbone):
    ...     packed = backbone(photo)
    >>> torch.allclose(packed, backbone(photo), atol=1e-6)
    True
    """
    if not isinstance(network, nn.Module) or not _is_supported(network):
        return []
    pairs = [pair for pair in find_fused_pairs(network) if not isinstance(pair.conv.padding, str)]
    packed = [PackedConvolution(pair, _activation_of(pair.norm)) for pair in pairs]
    # Another thread may be in a pass; a layer is exchanged as a whole, and both kinds of layers fit to each other.
    for convolution in packed:
        convolution.pair.conv.forward = convolution
    return packed


def _is_supported(network: nn.Module) -> bool:
    # A compiled network would be compiled again for other layers.
    is_compiled = any(module._compiled_call_impl is not None for module in network.modules())
    return not is_compiled and has_onednn() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _activation_of(norm: Any) -> nn.Module:
    """Return the activation of timm that a convolution can compute at once; the identity if there is none."""
    activation, drop = getattr(norm, "act", nn.Identity()), getattr(norm, "drop", None)
    return activation if type(activation) in _ACTIVATIONS and type(drop) is nn.Identity else nn.Identity()


class PackedConvolution:
    """The `forward` of a convolution with the BatchNorm and the activation that follow it, see `pack_convolutions`."""

    def __init__(self, pair: FusedPair, activation: nn.Module) -> None:
        self.pair = pair
        self.activation = activation
        self.ordinary = pair.conv.forward
        # Weight in the layout of oneDNN and bias: where several threads compute, that for one photo is slow with several.
        self.packed: dict[bool, tuple[Tensor, Tensor]] = {}
        self.is_refused = False

    def __call__(self, maps: Tensor) -> Tensor:
        """Return the normalised map; where the packed weights compute the activation as well, it is marked so."""
        if self.is_refused or not self._may_be_packed(maps):
            return self.ordinary(maps)
        padded = pad_by_size(self.pair.conv, maps) if self.pair.pads else maps
        try:
            result = self._convolve(padded)
        except (RuntimeError, TypeError):
            # The operations are those of PyTorch's own compiler, and another version may have other ones.
            self.is_refused = True
            return self.ordinary(maps)
        return result if type(self.activation) is nn.Identity else mark_activated(result)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy of the layer needs; tensors in the layout of oneDNN cannot be copied."""
        return {**vars(self), "packed": {}}

    def _may_be_packed(self, maps: Tensor) -> bool:
        # First of all: in a trace, the question how many photos there are would make their number a constant.
        if is_traced() or type(maps) is not Tensor:
            return False
        return (
            not self.pair.norm.training
            and maps.device.type == "cpu"
            and maps.dtype == torch.float32 == self.pair.conv.weight.dtype
            and len(maps) > 0
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )

    def _convolve(self, maps: Tensor) -> Tensor:
        conv = self.pair.conv
        geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        is_single = len(maps) == 1 and torch.get_num_threads() > 1
        if is_single not in self.packed:
            # Threads that come here at the same time compute the same.
            self.packed[is_single] = self._pack(maps.shape, geometry)
        weight, bias = self.packed[is_single]
        name, bounds = _ACTIVATIONS[type(self.activation)]
        return torch.ops.mkldnn._convolution_pointwise(maps, weight, bias, *geometry, name, bounds, "")

    def _pack(self, shape: torch.Size, geometry: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        weight, bias = fused_weights(self.pair.conv, self.pair.norm)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(shape)), bias
