"""Global descriptors: mean, max and generalised-mean pooling of a feature map."""

from typing import Literal

import torch
from torch import Tensor, nn

from pairlens.core.similarity import working_precision

Letter = Literal["S", "M", "G"]

GEM_FLOOR = 1e-6
GEM_POWER = 3.0


class Mean(nn.Module):
    """S (SPoC): the mean over the map, which is the generalised mean with p = 1.

    >>> Mean()(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[2.]])
    """

    def forward(self, features: Tensor) -> Tensor:
        """Pool (photo, channel, height, width) to (photo, channel)."""
        return features.mean(dim=(2, 3))


class Max(nn.Module):
    """M (MAC): the maximum over the map, which is the generalised mean with p → ∞.

    >>> Max()(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[3.]])
    """

    def forward(self, features: Tensor) -> Tensor:
        """Pool (photo, channel, height, width) to (photo, channel)."""
        return features.amax(dim=(2, 3))


class GeneralizedMean(nn.Module):
    """G (GeM): ( mean over the map of max(x, ε)^p )^(1/p), in float32.

    The floor ε keeps the gradient finite on a channel that is zero everywhere, where the gradient of the p-th root is
    NaN.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2017, arXiv 1711.02512,
    equation 3; CGD fixes p = 3.

    Args:
        learn: whether p is a learned parameter, one number for all channels, or fixed at 3.

    >>> GeneralizedMean()(torch.tensor([[[[0.0, 2.0]]]]))
    tensor([[1.5874]])
    """

    def __init__(self, learn: bool = False) -> None:
        super().__init__()
        power = torch.tensor(GEM_POWER)
        self.power: Tensor
        if learn:
            self.power = nn.Parameter(power)
        else:
            # Not persistent: a constant does not belong into the weight file.
            self.register_buffer("power", power, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Pool (photo, channel, height, width) to (photo, channel)."""
        # In float16 the p-th power of a feature above 40 overflows.
        positive = working_precision(features).clamp(min=GEM_FLOOR)
        return positive.pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)


def descriptor(letter: Letter, learn_power: bool = False) -> nn.Module:
    """Return the pooling layer of one letter of a descriptor configuration."""
    match letter:
        case "S":
            return Mean()
        case "M":
            return Max()
        case "G":
            return GeneralizedMean(learn=learn_power)


def letters(config: str) -> tuple[Letter, ...]:
    """Return the letters of a descriptor configuration, in their order.

    Raises:
        ValueError: if `config` is not one to three different letters of S, M and G.

    >>> letters("SG")
    ('S', 'G')
    """
    if not config or len(set(config)) != len(config) or not set(config) <= {"S", "M", "G"}:
        raise ValueError(
            f"--descriptors {config!r} must be one to three different letters of S (mean), M (max) and G (GeM), such as SG"
        )
    # The test above has shown that each character is a Letter, which the type checker cannot see.
    return tuple(config)  # pyright: ignore[reportReturnType]
