"""BatchNorm over the photos of all ranks: PyTorch's on a GPU, and on a CPU, where PyTorch has none, this one."""

from typing import Any

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from pairlens.core.ranks import total
from pairlens.core.similarity import working_precision


def join_batchnorm(network: nn.Module) -> None:
    """Let every BatchNorm of a network take its statistics from all ranks; parameters and names stay as they are."""
    if next(network.parameters()).is_cuda:
        # Only once: timm takes its own SyncBatchNormAct for a plain BatchNorm and would drop the activation within it.
        if not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
            convert_sync_batchnorm(network)
        return
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and not isinstance(module, JoinedBatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, JoinedBatchNorm(module))


class JoinedBatchNorm(nn.BatchNorm2d):
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
        count = total(torch.tensor(float(x.numel() // x.shape[1]), device=x.device, dtype=x.dtype))
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
        return total(term)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])
