"""A module from outside as the backbone of an embedder."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pairlens.model.evaluation_mode import in_evaluation_mode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class GivenModule:
    """What is stored of a module from outside, beside its weights and its name; its code is not.

    Attributes:
        mean: the mean of each colour, for values from 0 to 1.
        std: the standard deviation of each colour.

    Raises:
        ValueError: if mean or std are not three finite numbers, or a standard deviation is not above 0.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} {values} must be three finite numbers, one per colour")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} must be above 0 for each colour")


def module_name(module: nn.Module) -> str:
    """Return the class of a module as module:class.

    >>> module_name(nn.Conv2d(3, 8, 3))
    'torch.nn.modules.conv:Conv2d'
    """
    kind = type(module)
    return f"{kind.__module__}:{kind.__qualname__}"


class GivenBackbone(nn.Module):
    """A module from outside with the face of `Backbone`; a vector becomes a map of one place.

    Shapes:
        photos (photo, 3, height, width) to features (photo, channel, height / s, width / s), or (photo, channel, 1, 1)
        if the module returns (photo, channel).

    Args:
        module: normalised photos to a map (photo, channel, height, width), or to a vector (photo, channel).
        given: its normalisation.
        image_size: height and width of the photos.

    Raises:
        ValueError: if the module does not take such photos, or returns something else.

    >>> average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> backbone = GivenBackbone(average, GivenModule(), image_size=8)
    >>> backbone.channels, backbone.gives_vector, backbone(torch.zeros(2, 3, 8, 8)).shape
    (3, True, torch.Size([2, 3, 1, 1]))
    """

    def __init__(self, module: nn.Module, given: GivenModule, image_size: int) -> None:
        super().__init__()
        self.network = module
        self.changed_layers: tuple[str, ...] = ()
        self.fused_pairs = 0
        self.mean, self.std = given.mean, given.std
        features = _features_of_one_photo(module, image_size)
        self.channels: int = features.shape[1]
        self.gives_vector = features.ndim == 2

    def forward(self, photos: Tensor) -> Tensor:
        """Return the feature map."""
        features = self.network(photos)
        return features[:, :, None, None] if self.gives_vector else features


def _features_of_one_photo(module: nn.Module, image_size: int) -> Tensor:
    """Return what a module makes of a photo of zeros, and leave it as it was."""
    parameter = next(module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    try:
        # In evaluation mode, so that the photo of zeros does not change the statistics of BatchNorm.
        # The device is named for tensors that the module makes itself: this may run in a block with another default.
        with in_evaluation_mode(module), torch.no_grad(), device:
            features = module(torch.zeros(1, 3, image_size, image_size))
    # The type of the error depends on the code of the module.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise ValueError(
            f"{module_name(module)} does not take photos of shape (1, 3, {image_size}, {image_size}) ({reason}); change "
            "image_size or the module"
        ) from error
    is_tensor = isinstance(features, Tensor)
    if not is_tensor or features.ndim not in (2, 4) or len(features) != 1 or not features.numel():
        got = f"a tensor of shape {tuple(features.shape)}" if is_tensor else f"a {type(features).__name__}"
        raise ValueError(
            f"{module_name(module)} returns {got} for one photo; a module must return a map (photo, channel, height, width) "
            "or a vector (photo, channel), so write a small module around it that does"
        )
    return features
