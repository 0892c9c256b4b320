"""Batches of pixels from a prepared data set: decoded, augmented, uint8."""

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
from pairlens.core.threads import map_in_order
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode_one, empty_photos, rows_of
from pairlens.data.jpeg import resize_to_square
from pairlens.data.sampler import ClassBatches

Augment: TypeAlias = Literal["standard", "random_resized_crop"]

CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)


class PhotoBatch(NamedTuple):
    """Photos (photo, 3, size, size) uint8, labels (photo,) int64, and their positions in the catalog."""

    photos: Tensor
    labels: Tensor
    indices: Tensor


def working_size(image_size: int) -> int:
    """Return the size from which crops of `image_size` are cut: 9/8 of it, as 252 is of 224.

    >>> working_size(224), working_size(64)
    (252, 72)
    """
    return round(image_size * 9 / 8)


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The augmented batches of each epoch, the same for the same seed whatever the number of workers and ranks.

    "standard" (history): the photo squashed to 9/8 of `image_size`, a random crop of `image_size`, a flip half the time.
    "random_resized_crop": a random 8 to 100 % of the area at a ratio of 3/4 to 4/3, squashed to `image_size`, a flip.

    Attributes:
        catalog: the training photos.
        sampler: which photos make a batch.
        image_size: height and width of what comes out.
        augment: how a photo is varied.
        workers: threads that decode, each a batch at a time; 0 decodes in the thread that takes the batches.
        pin: whether to decode into page-locked memory, for a GPU.
        rank: whose share of every batch is loaded.
        ranks: among how many it is shared out.

    Raises:
        ValueError: if the batches cannot be shared out evenly.
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
        size, step = self.sampler.batch_size, math.lcm(self.ranks, self.sampler.per_class)
        if size % self.ranks:
            raise ValueError(
                f"batch_size {size} cannot be shared out evenly to {self.ranks} ranks; use {max(size // step, 1) * step}, "
                "or start another number of them"
            )

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return len(self.sampler)

    def epoch(self, number: int, start: int = 0) -> Iterator[PhotoBatch]:
        """Yield the batches of one epoch, without the first `start`."""
        drawn = islice(enumerate(self.sampler.draw(number)), start, None)
        batches = ((step, _blank(self, chosen[self._mine])) for step, chosen in drawn)
        return map_in_order(partial(self._fill, number), batches, self.workers)

    @property
    def _mine(self) -> slice:
        return shard(self.sampler.batch_size, self.rank, self.ranks)

    def _fill(self, number: int, numbered: tuple[int, PhotoBatch]) -> PhotoBatch:
        step, batch = numbered
        self.catalog.check_unchanged()
        # Drawn for the whole batch on every rank, so that a photo looks the same whoever loads it.
        draw, count = np.random.default_rng((self.sampler.seed, number, step)), self.sampler.batch_size
        match self.augment:
            case "standard":
                side = working_size(self.image_size)
                windows = _crops(count, side, self.image_size, draw)
            case "random_resized_crop":
                side = self.catalog.size
                windows = _resized_crops(count, side, draw)
        flips = (draw.random(count) < 0.5).tolist()
        rows, photos = rows_of(batch.photos), batch.indices.tolist()
        for position, (photo, window, flip) in enumerate(
            zip(photos, windows[self._mine], flips[self._mine], strict=True)
        ):
            pixels = _pixels(self.catalog, photo, side)
            rows[position] = _cut(pixels, window, self.image_size, flip)
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
    """The photos of a catalog in their order, squashed to `image_size`, not augmented; options as `TrainingBatches`."""

    __test__ = False

    catalog: Catalog
    image_size: int = 224
    batch_size: int = 128
    workers: int = 2
    pin: bool = False

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.catalog) // self.batch_size)

    def __iter__(self) -> Iterator[PhotoBatch]:
        """Yield all photos once."""
        batches = (_blank(self, chosen) for chosen in torch.arange(len(self.catalog)).split(self.batch_size))
        return map_in_order(self._fill, batches, self.workers)

    def _fill(self, batch: PhotoBatch) -> PhotoBatch:
        self.catalog.check_unchanged()
        rows = rows_of(batch.photos)
        for position, photo in enumerate(batch.indices.tolist()):
            rows[position] = _pixels(self.catalog, photo, self.image_size)
        return batch


def _blank(batches: TrainingBatches | TestBatches, chosen: Tensor) -> PhotoBatch:
    """Make the room for a batch, in the thread that takes it: another one may not know which GPU is in use."""
    labels = batches.catalog.labels[chosen]
    photos = empty_photos(len(chosen), batches.image_size, batches.pin)
    return PhotoBatch(photos, labels.pin_memory() if batches.pin else labels, chosen)


class _Window(NamedTuple):
    top: int
    left: int
    height: int
    width: int


def _crops(photos: int, side: int, size: int, draw: np.random.Generator) -> list[_Window]:
    tops, lefts = draw.integers(side - size + 1, size=(2, photos)).tolist()
    return [_Window(top, left, size, size) for top, left in zip(tops, lefts, strict=True)]


def _resized_crops(photos: int, side: int, draw: np.random.Generator) -> list[_Window]:
    windows = []
    for _ in range(photos):
        area = side * side * draw.uniform(*CROP_AREA)
        ratio = np.exp(draw.uniform(*np.log(CROP_RATIO)))
        width, height = (min(side, max(1, round(v))) for v in ((area * ratio) ** 0.5, (area / ratio) ** 0.5))
        top, left = draw.integers(side - height + 1), draw.integers(side - width + 1)
        windows.append(_Window(int(top), int(left), height, width))
    return windows


def _cut(pixels: np.ndarray, window: _Window, size: int, flip: bool) -> np.ndarray:
    top, left, height, width = window
    part = resize_to_square(pixels[top : top + height, left : left + width], size)
    if not flip:
        return part
    # numpy turns rows round byte by byte; torch has a fast way for a batch with its channels last.
    return torch.from_numpy(part).permute(2, 0, 1)[None].flip(3)[0].permute(1, 2, 0).numpy()
