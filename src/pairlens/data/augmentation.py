"""Augmentation of training photos: random crops, flips, colours and RandAugment, or a function of your own.

Random numbers come from generators that depend on seed, epoch, step and photo alone, so a photo gets the same augmentation
for any number of workers and ranks.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, assert_never

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pairlens.core.random_numbers import own_random_numbers
from pairlens.core.square_resize import resize_to_square

AugmentName: TypeAlias = Literal["standard", "random_resized_crop", "color_jitter", "rand_augment", "two_views"]
# A function of the stored photo, (3, size, size) uint8, that returns one of any size; `on_pictures` makes one of a function
# of Pillow pictures.
AugmentFunction: TypeAlias = Callable[[Tensor], Tensor]

# Ranges of torchvision's RandomResizedCrop: share of the area of the photo, and width / height.
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
# Of brightness, contrast and saturation, and of the hue, as in the example of torchvision's documentation.
JITTER = 0.4
HUE_JITTER = 0.1


class Window(NamedTuple):
    """A part of a photo, in pixels."""

    top: int
    left: int
    height: int
    width: int


def working_size(image_size: int) -> int:
    """Return the size of the photo from which a crop of `image_size` is cut: 9/8 of it, for example 252 for 224.

    >>> working_size(224), working_size(64)
    (252, 72)
    """
    return round(image_size * 9 / 8)


def views_of(augment: AugmentName | AugmentFunction) -> int:
    """Return how many crops of each photo a batch holds."""
    return 2 if augment == "two_views" else 1


def draw_windows(
    augment: AugmentName, photos: int, stored: int, size: int, rng: np.random.Generator
) -> tuple[int, list[Window]]:
    """Return the size to which each photo is decoded, and the window that is cut from it.

    Args:
        augment: the augmentation.
        photos: number of windows to draw.
        stored: size of the stored photos.
        size: size of the photos that the network sees.
        rng: the generator of the step.
    """
    match augment:
        case "standard" | "color_jitter" | "rand_augment":
            side = working_size(size)
            return side, _crops(photos, side, size, rng)
        case "random_resized_crop" | "two_views":
            return stored, _resized_crops(photos, stored, rng)
        case _:
            assert_never(augment)


def _crops(photos: int, side: int, size: int, rng: np.random.Generator) -> list[Window]:
    # From 0 to side - size, both included, so the crop may touch every edge.
    tops, lefts = rng.integers(side - size + 1, size=(2, photos)).tolist()
    return [Window(top, left, size, size) for top, left in zip(tops, lefts, strict=True)]


def _resized_crops(photos: int, side: int, rng: np.random.Generator) -> list[Window]:
    windows = []
    for _ in range(photos):
        area = side * side * rng.uniform(*CROP_AREA)
        # Uniform in the logarithm, so 3/4 and 4/3 are equally likely.
        ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
        width = min(side, max(1, round((area * ratio) ** 0.5)))
        height = min(side, max(1, round((area / ratio) ** 0.5)))
        top = rng.integers(side - height + 1)
        left = rng.integers(side - width + 1)
        windows.append(Window(int(top), int(left), height, width))
    return windows


def cut(pixels: np.ndarray, window: Window, size: int, flip: bool) -> np.ndarray:
    """Return a window of (height, width, 3) pixels, resized to (size, size, 3) and perhaps mirrored."""
    top, left, height, width = window
    # A crop of the "standard" augmentation has the right size already and is returned as a view.
    part = resize_to_square(pixels[top : top + height, left : left + width], size)
    if not flip:
        return part
    # NumPy mirrors byte by byte. torch has a fast path for a (1, 3, height, width) batch with its channels last.
    return torch.from_numpy(part).permute(2, 0, 1)[None].flip(3)[0].permute(1, 2, 0).numpy()


def change_colors(augment: AugmentName, pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return (size, size, 3) pixels after torchvision's ColorJitter or RandAugment; other augmentations change none.

    Args:
        augment: the augmentation.
        pixels: the crop.
        seed: of the random numbers of this photo.
    """
    if augment not in ("color_jitter", "rand_augment"):
        return pixels
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    with _OwnGenerator(seed):
        return _transform(augment)(planes).permute(1, 2, 0).numpy()


@cache
def _transform(augment: Literal["color_jitter", "rand_augment"]) -> Callable[[Tensor], Tensor]:
    # Imported here, because the transforms take as long to import as the rest of the package.
    from torchvision.transforms import v2

    if augment == "rand_augment":
        return v2.RandAugment()
    return v2.ColorJitter(brightness=JITTER, contrast=JITTER, saturation=JITTER, hue=HUE_JITTER)


class _OwnGenerator(TorchFunctionMode):
    """Lets the random functions of torch draw from a generator of this context, in this thread only.

    The transforms of torchvision draw from the generator of the process. Several threads would take numbers from each other,
    and from the training that runs beside them.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if getattr(function, "__name__", "") in _RANDOM_FUNCTIONS:
            given.setdefault("generator", self.generator)
        return function(*args, **given)


# The functions of torch with which transforms draw random numbers.
_RANDOM_FUNCTIONS = {
    *("rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal"),
    *("uniform_", "normal_", "random_", "bernoulli_", "exponential_"),
}


def apply_function(function: AugmentFunction, pixels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return the (size, size, 3) result of a function of your own for (height, width, 3) pixels.

    To be called in the main thread: the function may draw from the generators of torch, NumPy and Python, which are seeded
    for it and get their states back.

    Raises:
        ValueError: if the function does not return a photo.
    """
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    with own_random_numbers(seed):
        result: Any = function(planes)
    if not isinstance(result, Tensor) or result.dtype != torch.uint8 or result.ndim != 3 or len(result) != 3:
        found = (
            f"a {tuple(result.shape)} tensor of {result.dtype}" if isinstance(result, Tensor) else type(result).__name__
        )
        raise ValueError(
            f"the function for augmentation returned {found}, but must return a (3, height, width) tensor of torch.uint8; "
            "give a function of Pillow pictures as pl.on_pictures(function)"
        )
    return resize_to_square(result.permute(1, 2, 0).contiguous().numpy(), size)


def on_pictures(function: Callable[[Image.Image], Image.Image]) -> AugmentFunction:
    """Return a function of Pillow pictures as a function of (3, height, width) uint8 tensors, for augmentation.

    >>> from PIL import ImageOps
    >>> on_pictures(ImageOps.invert)(torch.zeros(3, 2, 2, dtype=torch.uint8)).max()
    tensor(255, dtype=torch.uint8)
    """

    def of_tensors(photo: Tensor) -> Tensor:
        picture = function(Image.fromarray(photo.permute(1, 2, 0).contiguous().numpy()))
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)

    of_tensors.__module__ = function.__module__
    of_tensors.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
    return of_tensors
