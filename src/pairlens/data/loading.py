"""Batches of pixels from a prepared data set: decoded, augmented, uint8."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transform

from pairlens.core.ranks import share
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
    """The augmented batches of each epoch, the same for the same seed whatever the number of workers and ranks.

    "standard" (history): the photo squashed to 9/8 of `image_size`, a random crop of `image_size`, a flip half the time.
    "random_resized_crop": a random 8 to 100 % of the area at a ratio of 3/4 to 4/3, squashed to `image_size`, a flip.

    Attributes:
        catalog: the training photos.
        sampler: which photos make a batch.
        image_size: height and width of what comes out.
        augment: how a photo is varied.
        workers: processes that decode; 0 decodes in this one.
        pin: whether to load into page-locked memory, for a GPU.
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
        # Drawn for the whole batch on every rank, so that a photo looks the same whoever loads it.
        count, mine = len(chosen), share(len(chosen), b.rank, b.ranks)
        jpegs = [b.catalog.jpeg(i) for i in chosen[mine].tolist()]
        match b.augment:
            case "standard":
                corners = _draw_corners(count, working_size(b.image_size) - b.image_size, draw)[mine]
                photos = _crop(decode(jpegs, working_size(b.image_size)), b.image_size, corners)
            case "random_resized_crop":
                boxes = _draw_boxes(count, b.catalog.size, draw)[mine]
                photos = _crop_resized(decode(jpegs, b.catalog.size), b.image_size, boxes)
        flipped = torch.from_numpy(draw.random(count) < 0.5)[mine]
        photos[flipped] = photos[flipped].flip(3)
        return Batch(photos, b.catalog.labels[chosen[mine]], chosen[mine])


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


def _draw_corners(count: int, room: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    tops, lefts = draw.integers(room + 1, size=(2, count)).tolist()
    return list(zip(tops, lefts, strict=True))


def _crop(photos: Tensor, size: int, corners: list[tuple[int, int]]) -> Tensor:
    cut = [photo[:, t : t + size, le : le + size] for photo, (t, le) in zip(photos, corners, strict=True)]
    return torch.stack(cut)


def _draw_boxes(count: int, side: int, draw: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Return top, left, height and width of a part of each photo."""
    boxes = []
    for _ in range(count):
        area = side * side * draw.uniform(*CROP_AREA)
        ratio = np.exp(draw.uniform(*np.log(CROP_RATIO)))
        width, height = (min(side, max(1, round(v))) for v in ((area * ratio) ** 0.5, (area / ratio) ** 0.5))
        top, left = draw.integers(side - height + 1), draw.integers(side - width + 1)
        boxes.append((int(top), int(left), height, width))
    return boxes


def _crop_resized(photos: Tensor, size: int, boxes: list[tuple[int, int, int, int]]) -> Tensor:
    cut = [transform.resized_crop(p, *box, [size, size], antialias=True) for p, box in zip(photos, boxes, strict=True)]
    return torch.stack(cut)
