"""BatchNorm fused into convolutions, and BatchNorm synchronized over ranks.

Fusing saves one pass over the feature map while BatchNorm is frozen and does not change the function. Synchronized
BatchNorm is PyTorch's own on a GPU; on a CPU, where PyTorch has none, it is `SynchronizedBatchNorm`.
"""

from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairlens.core.distributed import all_reduce_sum
from pairlens.core.similarity import working_precision
from pairlens.model.convolution import Geometry, convolve
from pairlens.model.evaluation_mode import in_evaluation_mode

# The attribute of a map that is normalised and activated.
_ACTIVATED = "pairlens_activated"


class FusedPair(NamedTuple):
    """A convolution that applies its BatchNorm while that is frozen, see `fuse_batchnorm`.

    Attributes:
        conv: the convolution.
        norm: the BatchNorm, with timm's activation where that is a part of it.
        pads: whether the convolution pads by the size of its input.
    """

    conv: Any
    norm: Any
    pads: bool


class Call(NamedTuple):
    """One call of a convolution or a BatchNorm during a forward pass.

    Attributes:
        module: the layer.
        node: the autograd node that produced the output of a convolution, or the input of a BatchNorm.
    """

    module: Any
    node: Any


def fuse_batchnorm(network: Any, image_size: int) -> int:
    """Let each convolution that is followed by a BatchNorm apply its scale and shift while that BatchNorm is frozen.

    BN(w * x) = (γ/σ · w) * x + β - γ/σ · μ. The fused weight is computed at every call, so w, γ and β keep their names
    and their exact gradients. A BatchNorm in training mode runs unfused. Fusing saves one pass over the feature map
    forwards, two backwards, and the memory of one map.

    The pairs are detected, not listed: the network runs once with autograd, and a pair is a BatchNorm whose input is
    the output of a convolution that nothing else uses. Every other layer is left unchanged.

    Args:
        network: a timm network; changed in place.
        image_size: height and width of its photos.

    Returns:
        The number of fused pairs.
    """
    calls, uses = _record(network, image_size)
    pairs = _matching_pairs(calls, uses)
    for conv, norm in pairs:
        _fuse(conv, norm)
    return len(pairs)


def find_fused_pairs(network: nn.Module) -> list[FusedPair]:
    """Return the pairs of a network that `fuse_batchnorm` has fused."""
    found = []
    for module in network.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, partial) and forward.func is _fused_conv:
            found.append(FusedPair(*forward.args))
    return found


def _record(network: Any, image_size: int) -> tuple[list[Call], Counter[Any]]:
    """Run a network once; return the calls of its layers in order, and how often each autograd node's result is used."""
    calls: list[Call] = []
    hooks = []
    for module in network.modules():
        if _is_plain_conv(module):
            hooks.append(module.register_forward_hook(partial(_record_output, calls)))
        elif _is_plain_norm(module):
            hooks.append(module.register_forward_pre_hook(partial(_record_input, calls)))
    try:
        uses = _count_uses(_last_map(network, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return calls, uses


def _is_plain_conv(module: nn.Module) -> bool:
    # Imported here, because timm takes as long to import as PyTorch; whoever has a backbone has imported it already.
    from timm.layers.conv2d_same import Conv2dSame

    # timm's convolution pads by the size of its input, as `_fused_conv` does; any other subclass may do more.
    return type(module) in (nn.Conv2d, Conv2dSame) and module.padding_mode == "zeros"


def _is_plain_norm(module: nn.Module) -> bool:
    # Imported here, because timm takes as long to import as PyTorch; whoever has a backbone has imported it already.
    from timm.layers.norm_act import BatchNormAct2d

    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_var is not None


def _record_output(calls: list[Call], conv: nn.Module, _: object, output: Tensor) -> None:
    calls.append(Call(conv, output.grad_fn))


def _record_input(calls: list[Call], norm: nn.Module, inputs: tuple[Tensor]) -> None:
    calls.append(Call(norm, inputs[0].grad_fn))


def _last_map(network: Any, image_size: int) -> Tensor:
    device = next(network.parameters()).device
    # In training mode the zero photo would move the running statistics.
    with in_evaluation_mode(network), torch.enable_grad():
        return network.forward_features(torch.zeros(1, 3, image_size, image_size, device=device))


def _count_uses(output: Tensor) -> Counter[Any]:
    """Count how often the result of each node of an autograd graph is used."""
    uses: Counter[Any] = Counter()
    root: Any = output.grad_fn
    seen = {root}
    waiting = [root]
    while waiting:
        inputs = [node for node, _ in waiting.pop().next_functions if node is not None]
        uses.update(inputs)
        # dict.fromkeys: a node that is used twice by the same node is visited once.
        waiting += [node for node in dict.fromkeys(inputs) if node not in seen]
        seen.update(inputs)
    return uses


def _matching_pairs(calls: list[Call], uses: Counter[Any]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each BatchNorm with the convolution that produces its input and nothing else."""
    convs = [call for call in calls if isinstance(call.module, nn.Conv2d)]
    norms = [call for call in calls if isinstance(call.module, nn.BatchNorm2d)]
    producers = {call.node: call.module for call in convs if call.node is not None}
    # A layer that is called twice works on two maps, and only one of them may belong to the pair.
    times = Counter(call.module for call in calls)
    return [
        (producers[call.node], call.module)
        for call in norms
        if call.node in producers
        and uses[call.node] == 1
        and times[call.module] == 1
        and times[producers[call.node]] == 1
    ]


def _fuse(conv: Any, norm: Any) -> None:
    # Of the two kinds that are fused, the subclass pads by the size of its input.
    pads = type(conv) is not nn.Conv2d
    # The methods are replaced, not the modules, so the names of parameters and buffers stay as timm has them.
    conv.forward = partial(_fused_conv, conv, norm, pads)
    norm.forward = partial(_after_fused_conv, norm)


def _fused_conv(conv: Any, norm: nn.BatchNorm2d, pads: bool, maps: Tensor) -> Tensor:
    weight, bias = (conv.weight, conv.bias) if norm.training else fused_weights(conv, norm)
    if pads:
        maps = pad_by_size(conv, maps)
    return convolve(maps, weight, bias, Geometry(conv.stride, conv.padding, conv.dilation, conv.groups))


def pad_by_size(conv: Any, maps: Tensor) -> Tensor:
    """Return the maps with the border of zeros that a convolution of timm gives to maps of their size."""
    # Imported here, because timm takes as long to import as PyTorch; whoever has a backbone has imported it already.
    from timm.layers.padding import pad_same

    return pad_same(maps, conv.kernel_size, conv.stride, conv.dilation)


def fused_weights(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that equals a convolution followed by its frozen BatchNorm."""
    mean = norm.running_mean
    variance = norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean * scale if conv.bias is None else (conv.bias - mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    # The scale is one number per output channel; conv.weight is (output, input, height, width).
    return conv.weight * scale.view(-1, 1, 1, 1), shift


def mark_activated(maps: Tensor) -> Tensor:
    """Return a normalised map whose BatchNorm finds that the convolution has computed the activation, too."""
    # Where the mark is lost, the activation is computed again, which changes nothing: relu(relu(x)) = relu(x).
    setattr(maps, _ACTIVATED, True)
    return maps


def _after_fused_conv(norm: Any, maps: Tensor) -> Tensor:
    """Apply what is left of a BatchNorm when its convolution has normalised the map: timm's activation."""
    if norm.training:
        return type(norm).forward(norm, maps)
    if type(norm) is nn.BatchNorm2d or hasattr(maps, _ACTIVATED):
        return maps
    return norm.act(norm.drop(maps))


def synchronize_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm compute its statistics over all ranks; parameters and their names do not change."""
    if next(network.parameters()).is_cuda:
        # A second conversion would take timm's SyncBatchNormAct for a plain BatchNorm and drop its activation.
        if not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
            from timm.layers.norm_act import convert_sync_batchnorm

            convert_sync_batchnorm(network)
        return
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and not isinstance(module, SynchronizedBatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, SynchronizedBatchNorm(module))


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """BatchNorm with the mean and the variance of the feature maps of all ranks, on any device.

    mean = Σ x / n and variance = Σ (x - mean)² / n over the maps of all ranks; both carry their gradient. Where timm
    has an activation inside the norm, it follows the normalisation.

    Args:
        norm: the layer whose parameters and statistics are used.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight = norm.weight
        self.bias = norm.bias
        self.running_mean = norm.running_mean
        self.running_var = norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised (photo, channel, height, width) maps of this rank."""
        normalized = self._normalize_over_ranks(input) if self.training else super().forward(input)
        return self.act(self.drop(normalized))

    def _normalize_over_ranks(self, maps: Tensor) -> Tensor:
        x = working_precision(maps)
        # Ranks may hold different numbers of photos, so the count is summed as well: photos x height x width.
        count = all_reduce_sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device, dtype=x.dtype))
        # Sums over photo, height and width leave (channel,); view(-1, 1, 1) broadcasts them over the maps.
        mean = _SumOverRanks.apply(x.sum(dim=(0, 2, 3))) / count  # pyright: ignore[reportOperatorIssue]
        centred = x - mean.view(-1, 1, 1)
        # Two passes over the map: E[x²] - E[x]² would lose digits where the mean is large.
        squares = centred.square().sum(dim=(0, 2, 3))
        variance = _SumOverRanks.apply(squares) / count  # pyright: ignore[reportOperatorIssue]
        # PyTorch normalises by the biased variance and stores the unbiased one.
        self._update_statistics(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(-1, 1, 1)
        if self.affine:
            scaled = scaled * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return scaled.to(maps.dtype)

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # Without a momentum PyTorch averages over all batches so far.
        rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; the gradient is summed over all ranks too."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_reduce_sum(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank uses the sum, so the gradient of one rank's term is the sum of the gradients of all ranks.
        return all_reduce_sum(gradients[0])
