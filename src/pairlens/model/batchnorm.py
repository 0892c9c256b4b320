"""BatchNorm that stands still as part of the convolution before it, and BatchNorm over the photos of all ranks.

The first is the same function with one pass over the map less. For the second PyTorch's is taken on a GPU, and on a CPU,
where PyTorch has none, the one here.
"""

from collections import Counter
from functools import partial
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn import functional as F

from pairlens.core.distributed import all_reduce_sum
from pairlens.core.similarity import working_precision


def fuse_batchnorm(network: Any, image_size: int) -> int:
    """Let each convolution that a BatchNorm follows take over its scale and shift, while that BatchNorm stands still.

    BN(w * x) = (γ/σ · w) * x + β - γ/σ · μ. The product with w is made anew at every call, so w, γ and β keep their
    names and their exact gradients; a BatchNorm in training mode runs as ever. It saves a pass over the map forwards,
    two backwards, and the memory of one map.

    Which pairs there are is seen, not listed: the network is run once with a graph, and a pair is a BatchNorm whose
    input comes out of a convolution and goes nowhere else. What is not exactly such a pair is left alone.

    Args:
        network: a timm network; changed in place.
        image_size: height and width of the photos it takes.

    Returns:
        How many pairs there are.
    """
    outputs: list[tuple[Any, Any]] = []
    inputs: list[tuple[Any, Any]] = []
    hooks = [m.register_forward_hook(partial(_note_output, outputs)) for m in network.modules() if _plain_conv(m)]
    hooks += [m.register_forward_pre_hook(partial(_note_input, inputs)) for m in network.modules() if _plain_norm(m)]
    try:
        uses = _uses(_last_map(network, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    calls = Counter(module for module, _ in [*outputs, *inputs])
    convolution = {node: module for module, node in outputs if node is not None}
    pairs = [(convolution[node], norm) for norm, node in inputs if node in convolution and uses[node] == 1]
    pairs = [pair for pair in pairs if all(calls[module] == 1 for module in pair)]
    for conv, norm in pairs:
        conv.forward = partial(_convolve, conv, norm)
        norm.forward = partial(_after, norm)
    return len(pairs)


def _plain_conv(module: nn.Module) -> bool:
    # A subclass that pads by the size of its input does more than F.conv2d.
    return type(module) is nn.Conv2d and module.padding_mode == "zeros"


def _plain_norm(module: nn.Module) -> bool:
    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_var is not None


def _note_output(outputs: list[tuple[Any, Any]], module: nn.Module, _: object, output: Tensor) -> None:
    outputs.append((module, output.grad_fn))


def _note_input(inputs: list[tuple[Any, Any]], module: nn.Module, given: tuple[Tensor]) -> None:
    inputs.append((module, given[0].grad_fn))


def _last_map(network: Any, image_size: int) -> Tensor:
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        with torch.enable_grad():
            return network.forward_features(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        network.train(was_training)


def _uses(output: Tensor) -> Counter[object]:
    """Count how often the result of each node of a graph is used."""
    uses: Counter[object] = Counter()
    first: Any = output.grad_fn
    seen, ahead = {first}, [first]
    while ahead:
        before = [function for function, _ in ahead.pop().next_functions if function is not None]
        uses.update(before)
        ahead += [function for function in dict.fromkeys(before) if function not in seen]
        seen.update(before)
    return uses


def _convolve(conv: nn.Conv2d, norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    if norm.training:
        return nn.Conv2d.forward(conv, maps)
    weight, bias = folded(conv, norm)
    return F.conv2d(maps, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that does what a convolution and its still BatchNorm do."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -mean * scale if conv.bias is None else (conv.bias - mean) * scale
    return conv.weight * scale.view(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _after(norm: Any, maps: Tensor) -> Tensor:
    """Do what a BatchNorm does beside normalising, if its convolution has done that."""
    if norm.training:
        return type(norm).forward(norm, maps)
    return maps if type(norm) is nn.BatchNorm2d else norm.act(norm.drop(maps))


def synchronize_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm of a network take its statistics from all ranks; parameters and names stay as they are."""
    if next(network.parameters()).is_cuda:
        # Only once: timm takes its own SyncBatchNormAct for a plain BatchNorm and would drop the activation within it.
        if not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
            convert_sync_batchnorm(network)
        return
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and not isinstance(module, SynchronizedBatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, SynchronizedBatchNorm(module))


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """The same BatchNorm, with the mean and the variance of all ranks' maps, on any device.

    mean = Σ x / n and variance = Σ (x - mean)² / n over the maps of all ranks, both with their gradient. Where timm has
    the activation inside the norm, it comes after it.

    Args:
        norm: whose parameters and statistics are taken over.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised maps of this rank."""
        normalized = self._joined(input) if self.training else super().forward(input)
        return self.act(self.drop(normalized))

    def _joined(self, maps: Tensor) -> Tensor:
        x = working_precision(maps)
        count = all_reduce_sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device, dtype=x.dtype))
        mean = _Total.apply(x.sum(dim=(0, 2, 3))) / count  # pyright: ignore[reportOperatorIssue]
        centred = x - mean.view(-1, 1, 1)
        variance = _Total.apply(centred.square().sum(dim=(0, 2, 3))) / count  # pyright: ignore[reportOperatorIssue]
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(-1, 1, 1)
        if self.affine:
            scaled = scaled * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return scaled.to(maps.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


class _Total(torch.autograd.Function):
    """The sum over the ranks; each rank's term gets the gradients of all of them."""

    @staticmethod
    def forward(ctx: Any, term: Tensor) -> Tensor:
        return all_reduce_sum(term)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_sum(gradients[0])
