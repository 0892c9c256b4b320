"""Batches of pixels from a prepared data set: decoded, augmented, uint8."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transform

from pairlens.data.catalog import Catalog
from pairlens.data.images import decode
from pairlens.data.sampling import ClassBatches

Augment: TypeAlias = Literal["standard", "random_resized_crop"]

CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)


class Batch(NamedTuple):
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
    """The augmented batches of each epoch, the same for the same seed whatever the number of workers.

    "standard" (history): the photo squashed to 9/8 of `image_size`, a random crop of `image_size`, a flip half the time.
    "random_resized_crop": a random 8 to 100 % of the area at a ratio of 3/4 to 4/3, squashed to `image_size`, a flip.

    Attributes:
        catalog: the training photos.
        sampler: which photos make a batch.
        image_size: height and width of what comes out.
        augment: how a photo is varied.
        workers: processes that decode; 0 decodes in this one.
        pin: whether to load into page-locked memory, for a GPU.
    """

    catalog: Catalog
    sampler: ClassBatches
    image_size: int = 224
    augment: Augment = "standard"
    workers: int = 2
    pin: bool = False

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return len(self.sampler)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, without the first `start`."""
        return _load(_Epoch(self, number), range(start, len(self)), self.workers, self.pin)


@dataclass(frozen=True, eq=False)
class TestBatches:
    """The photos of a catalog in their order, squashed to `image_size`, not augmented."""

    __test__ = False

    catalog: Catalog
    image_size: int = 224
    batch_size: int = 128
    workers: int = 2
    pin: bool = False

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.catalog) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield all photos once."""
        return _load(_InOrder(self), range(len(self)), self.workers, self.pin)


def _load(photos: Dataset[Batch], steps: range, workers: int, pin: bool) -> Iterator[Batch]:
    # A generator of its own: a loader draws a number when it starts, and a resumed epoch starts one more.
    own = torch.Generator()
    loader = DataLoader(photos, None, sampler=steps, num_workers=workers, pin_memory=pin, generator=own)
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ValueError(
            f"a process that loads photos was killed ({error}); its file may have been cut short, or memory has run out: "
            "see to that, or load in one process with --workers 0"
        ) from error


class _Epoch(Dataset[Batch]):
    def __init__(self, batches: TrainingBatches, number: int) -> None:
        self.batches, self.number = batches, number
        self.indices = batches.sampler.epoch(number)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, step: int) -> Batch:
        b, chosen = self.batches, self.indices[step]
        draw = np.random.default_rng((b.sampler.seed, self.number, step))
        b.catalog.check_unchanged()
        jpegs = [b.catalog.jpeg(i) for i in chosen.tolist()]
        match b.augment:
            case "standard":
                photos = _crop(decode(jpegs, working_size(b.image_size)), b.image_size, draw)
            case "random_resized_crop":
                photos = _crop_resized(decode(jpegs, b.catalog.size), b.image_size, draw)
        return Batch(_flip(photos, draw), b.catalog.labels[chosen], chosen)


class _InOrder(Dataset[Batch]):
    def __init__(self, batches: TestBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Batch:
        b = self.batches
        if step >= len(self):
            raise IndexError(step)
        b.catalog.check_unchanged()
        chosen = torch.arange(step * b.batch_size, min((step + 1) * b.batch_size, len(b.catalog)))
        photos = decode([b.catalog.jpeg(i) for i in chosen.tolist()], b.image_size)
        return Batch(photos, b.catalog.labels[chosen], chosen)


def _crop(photos: Tensor, size: int, draw: np.random.Generator) -> Tensor:
    count, room = len(photos), photos.shape[2] - size + 1
    tops, lefts = draw.integers(room, size=(2, count)).tolist()
    return torch.stack(
        [photos[i, :, t : t + size, le : le + size] for i, (t, le) in enumerate(zip(tops, lefts, strict=True))]
    )


def _crop_resized(photos: Tensor, size: int, draw: np.random.Generator) -> Tensor:
    side = photos.shape[2]
    cropped = []
    for photo in photos:
        area = side * side * draw.uniform(*CROP_AREA)
        ratio = np.exp(draw.uniform(*np.log(CROP_RATIO)))
        width, height = (min(side, max(1, round(v))) for v in ((area * ratio) ** 0.5, (area / ratio) ** 0.5))
        top, left = draw.integers(side - height + 1), draw.integers(side - width + 1)
        cropped.append(transform.resized_crop(photo, int(top), int(left), height, width, [size, size], antialias=True))
    return torch.stack(cropped)


def _flip(photos: Tensor, draw: np.random.Generator) -> Tensor:
    chosen = torch.from_numpy(draw.random(len(photos)) < 0.5)
    photos[chosen] = photos[chosen].flip(3)
    return photos
