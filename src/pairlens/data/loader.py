"""Batches of photos from a prepared data set: decoded, augmented, uint8."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairlens.core.distributed import shard
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.core.threads import map_in_order
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode_one, empty_photos, rows_of
from pairlens.data.jpeg import resize_to_square
from pairlens.data.sampler import ClassBatches

Augment: TypeAlias = Literal["standard", "random_resized_crop"]

# Ranges of torchvision's RandomResizedCrop: share of the area of the photo, and width / height.
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class BatchConfig:
    """The batches that a model is trained on.

    Attributes:
        size: number of photos in a training batch.
        per_class: number of photos per class in a batch.
        augment: standard (squash, crop, flip) or random_resized_crop.
        workers: number of threads that load photos; 0 loads them between the steps.

    Raises:
        ValueError: for a setting out of its range.
    """

    size: int = setting(128, Rules(option="batch_size", low=1, high=1 << 20))
    per_class: int = setting(4, Rules(low=1, high=1 << 20))
    augment: Augment = "standard"
    workers: int = setting(2, Rules(low=0, high=1024))

    def __post_init__(self) -> None:
        check_settings(self)


class PhotoBatch(NamedTuple):
    """Photos (photo, 3, size, size) uint8, labels (photo,) int64, and indices (photo,), positions in the catalog."""

    photos: Tensor
    labels: Tensor
    indices: Tensor


def working_size(image_size: int) -> int:
    """Return the size of the photo from which a crop of `image_size` is cut: 9/8 of it, for example 252 for 224.

    >>> working_size(224), working_size(64)
    (252, 72)
    """
    return round(image_size * 9 / 8)


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The augmented batches of each epoch; the same for the same seed, for any number of workers and ranks.

    "standard": the photo resized to a square of 9/8 of `image_size`, a random crop of `image_size`, and a horizontal flip
    with probability 1/2.
    "random_resized_crop": a random 8 to 100 % of the area at a ratio of 3/4 to 4/3, resized to `image_size`, and a flip
    with probability 1/2.

    Attributes:
        catalog: the training photos.
        sampler: chooses the photos of each batch.
        image_size: height and width of the result.
        augment: the augmentation, as above.
        workers: number of decoding threads, each of which decodes one batch at a time; with 0 the calling thread decodes.
        pin: whether to decode into page-locked memory, for a GPU.
        rank: the rank whose shard of each batch is loaded.
        ranks: the number of ranks.

    Raises:
        ValueError: if the batch size is not divisible by the number of ranks.
    """

    catalog: Catalog
    sampler: ClassBatches
    image_size: int = 224
    augment: Augment = "standard"
    workers: int = 2
    pin: bool = False
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        size = self.sampler.batch_size
        if size % self.ranks:
            # A shard must hold an equal number of photos, and a batch whole classes of K photos.
            step = math.lcm(self.ranks, self.sampler.per_class)
            raise ValueError(
                f"batch_size {size} cannot be divided evenly among {self.ranks} ranks; use {max(size // step, 1) * step}, "
                "or another number of ranks"
            )

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self.sampler)

    def epoch(self, number: int, start: int = 0) -> Iterator[PhotoBatch]:
        """Yield the batches of one epoch, without the first `start`."""
        numbered = islice(enumerate(self.sampler.iter_epoch(number)), start, None)
        batches = ((step, _empty_batch(self, chosen[self._shard])) for step, chosen in numbered)
        return map_in_order(partial(self._fill, number), batches, self.workers)

    @property
    def _shard(self) -> slice:
        return shard(self.sampler.batch_size, self.rank, self.ranks)

    def _fill(self, number: int, numbered: tuple[int, PhotoBatch]) -> PhotoBatch:
        step, batch = numbered
        # Once per batch, not per photo: it costs a system call.
        self.catalog.check_unchanged()
        count = self.sampler.batch_size
        # Every rank draws the crops and flips of the whole batch and uses its shard, so the augmentation of a photo does
        # not depend on the rank that loads it. The generator depends on the step only, not on the worker.
        rng = np.random.default_rng((self.sampler.seed, number, step))
        match self.augment:
            case "standard":
                side = working_size(self.image_size)
                windows = _crops(count, side, self.image_size, rng)
            case "random_resized_crop":
                side = self.catalog.size
                windows = _resized_crops(count, side, rng)
        flips = (rng.random(count) < 0.5).tolist()
        rows = rows_of(batch.photos)  # (photo, height, width, 3), the memory of the batch
        photos = batch.indices.tolist()
        for position, (photo, window, flip) in enumerate(
            zip(photos, windows[self._shard], flips[self._shard], strict=True)
        ):
            pixels = _pixels(self.catalog, photo, side)
            rows[position] = _crop(pixels, window, self.image_size, flip)
        return batch


def _pixels(catalog: Catalog, photo: int, side: int) -> np.ndarray:
    try:
        return decode_one(catalog.jpeg(photo), side)
    except ValueError as error:
        raise ValueError(
            f"the picture of {catalog.paths[photo]} in {catalog.file} is damaged ({error}); prepare the data set again"
        ) from error


@dataclass(frozen=True, eq=False)
class TestBatches:
    """The photos of a catalog in order, resized to `image_size`, without augmentation; options as `TrainingBatches`."""

    # Not a test, although pytest takes classes of this name for tests.
    __test__ = False

    catalog: Catalog
    image_size: int = 224
    batch_size: int = 128
    workers: int = 2
    pin: bool = False

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.catalog) / self.batch_size)

    def __iter__(self) -> Iterator[PhotoBatch]:
        """Yield all photos once."""
        batches = (_empty_batch(self, chosen) for chosen in torch.arange(len(self.catalog)).split(self.batch_size))
        return map_in_order(self._fill, batches, self.workers)

    def _fill(self, batch: PhotoBatch) -> PhotoBatch:
        self.catalog.check_unchanged()
        rows = rows_of(batch.photos)
        for position, photo in enumerate(batch.indices.tolist()):
            rows[position] = _pixels(self.catalog, photo, self.image_size)
        return batch


def _empty_batch(batches: TrainingBatches | TestBatches, chosen: Tensor) -> PhotoBatch:
    """Allocate the memory of a batch.

    The calling thread does it: page-locked memory belongs to the current GPU, which another thread may not know.
    """
    labels = batches.catalog.labels[chosen]
    if batches.pin:
        labels = labels.pin_memory()
    return PhotoBatch(empty_photos(len(chosen), batches.image_size, batches.pin), labels, chosen)


class _Window(NamedTuple):
    top: int
    left: int
    height: int
    width: int


def _crops(photos: int, side: int, size: int, rng: np.random.Generator) -> list[_Window]:
    # From 0 to side - size, both included, so the crop may touch every edge.
    tops, lefts = rng.integers(side - size + 1, size=(2, photos)).tolist()
    return [_Window(top, left, size, size) for top, left in zip(tops, lefts, strict=True)]


def _resized_crops(photos: int, side: int, rng: np.random.Generator) -> list[_Window]:
    windows = []
    for _ in range(photos):
        area = side * side * rng.uniform(*CROP_AREA)
        # Uniform in the logarithm, so 3/4 and 4/3 are equally likely.
        ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
        width = min(side, max(1, round((area * ratio) ** 0.5)))
        height = min(side, max(1, round((area / ratio) ** 0.5)))
        top = rng.integers(side - height + 1)
        left = rng.integers(side - width + 1)
        windows.append(_Window(int(top), int(left), height, width))
    return windows


def _crop(pixels: np.ndarray, window: _Window, size: int, flip: bool) -> np.ndarray:
    """Return a window of (height, width, 3) pixels, resized to (size, size, 3) and perhaps mirrored."""
    top, left, height, width = window
    # A crop of the "standard" augmentation has the right size already and is returned as a view.
    part = resize_to_square(pixels[top : top + height, left : left + width], size)
    if not flip:
        return part
    # NumPy mirrors byte by byte. torch has a fast path for a (1, 3, height, width) batch with its channels last.
    return torch.from_numpy(part).permute(2, 0, 1)[None].flip(3)[0].permute(1, 2, 0).numpy()
