"""Batches of photos from a prepared data set: decoded, augmented, uint8."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairlens.core.distributed import shard
from pairlens.core.images import decode_one, empty_photos, rows_of
from pairlens.core.named_function import NamedFunction
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.core.threads import map_in_order
from pairlens.data.augmentation import (
    AugmentFunction,
    AugmentName,
    apply_function,
    change_colors,
    cut,
    draw_windows,
    views_of,
)
from pairlens.data.catalog import Catalog
from pairlens.data.sampler import ClassBatches


class EpochSampler(Protocol):
    """A sampler of batches, such as a batch sampler for a `DataLoader`, whose batches depend on the number of the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose batches are drawn next; the same number must give the same batches again."""
        ...

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        ...

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Yield the positions of the photos of each batch."""
        ...


SamplerFactory: TypeAlias = Callable[[Tensor], EpochSampler]


@dataclass(frozen=True)
class BatchConfig:
    """The batches that a model is trained on.

    Attributes:
        size: number of photos in a training batch.
        per_class: number of photos per class in a batch.
        augment: standard (squash, crop, flip), random_resized_crop, color_jitter (standard with other colours), rand_augment
            (standard with torchvision's RandAugment), or two_views (two random_resized_crops of each photo, so that a batch
            holds twice as many photos as `size`); in Python also a function of (3, height, width) uint8 tensors.
        sampler: in Python a function of the (photo,) labels that returns an `EpochSampler`, which replaces `size` and
            `per_class`.
        views: with --freeze backbone, how many augmented views of each training photo are stored, of which every batch
            takes one; 0 stores each photo as it is tested, without augmentation.
        workers: number of threads that load photos; 0 loads them between the steps.

    Raises:
        ValueError: for a setting out of its range.
    """

    size: int = setting(128, Rules(option="batch_size", low=1, high=1 << 20))
    per_class: int = setting(4, Rules(low=1, high=1 << 20))
    augment: AugmentFunction | NamedFunction | AugmentName = "standard"
    sampler: SamplerFactory | NamedFunction | None = None
    views: int = setting(0, Rules(low=0, high=1024))
    workers: int = setting(2, Rules(low=0, high=1024))

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def photos(self) -> int:
        """How many photos of a batch the network sees; with two views each counts twice."""
        return self.size * views_of(self.augment)


class PhotoBatch(NamedTuple):
    """Photos (photo, 3, size, size) uint8, labels (photo,) int64, and indices (photo,), positions in the catalog."""

    photos: Tensor
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The augmented batches of each epoch; the same for the same seed, for any number of workers and ranks.

    - standard: the photo resized to a square of 9/8 of `image_size`, a random crop of `image_size`, and a horizontal flip
      with probability 1/2.
    - random_resized_crop: a random 8 to 100 % of the area at a ratio of 3/4 to 4/3, resized to `image_size`, and a flip
      with probability 1/2.
    - color_jitter, rand_augment: as standard, then torchvision's ColorJitter (brightness, contrast and saturation × 0.6 to
      1.4, hue ± 0.1) or RandAugment (2 operations of magnitude 9).
    - two_views: two random_resized_crops of each photo, one behind the other; labels and indices are repeated alike.
    - a function of the stored photo, (3, size, size) uint8, which returns one of any size. It is called in the main thread,
      so that it may draw random numbers from torch, NumPy and Python: they are seeded for each photo.

    Attributes:
        catalog: the training photos.
        sampler: chooses the photos of each batch.
        image_size: height and width of the result.
        augment: the augmentation, as above.
        workers: number of decoding threads, each of which decodes one batch at a time; with 0 the calling thread decodes.
        pin: whether to decode into page-locked memory, for a GPU.
        rank: the rank whose shard of each batch is loaded.
        ranks: the number of ranks.
        seed: seed of the augmentation; by default that of the sampler, or 0 if it has none.

    Raises:
        ValueError: if the batch size is not divisible by the number of ranks.
    """

    catalog: Catalog
    sampler: ClassBatches | EpochSampler
    image_size: int = 224
    augment: AugmentName | AugmentFunction = "standard"
    workers: int = 2
    pin: bool = False
    rank: int = 0
    ranks: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, ClassBatches):
            return
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
        """Yield the batches of one epoch, without the first `start`.

        Raises:
            ValueError: if a photo is damaged, or a batch of a sampler cannot be used.
        """
        numbered = islice(enumerate(self.drawn(number)), start, None)
        if callable(self.augment):
            # In this thread, because the function may draw from generators that the whole process shares.
            return (self._augmented(number, step, chosen) for step, chosen in numbered)
        batches = ((step, len(chosen), self._empty(chosen)) for step, chosen in numbered)
        return map_in_order(partial(self._fill, number), batches, self.workers)

    def drawn(self, number: int) -> Iterator[Tensor]:
        """Yield the (photo,) positions of the photos of each batch of an epoch, of all ranks."""
        if isinstance(self.sampler, ClassBatches):
            yield from self.sampler.iter_epoch(number)
            return
        self.sampler.set_epoch(number)
        for batch in self.sampler:
            chosen = torch.as_tensor(batch)
            self._check_drawn(chosen)
            yield chosen

    def _check_drawn(self, chosen: Tensor) -> None:
        name = type(self.sampler).__name__
        if chosen.ndim != 1 or chosen.dtype != torch.int64 or not len(chosen):
            raise ValueError(f"the sampler {name} must yield lists of integers, not {chosen.tolist()!r:.80}")
        if int(chosen.min()) < 0 or int(chosen.max()) >= len(self.catalog):
            raise ValueError(
                f"the sampler {name} chose photo {int(chosen.max())}, but there are photos 0 to {len(self.catalog) - 1}"
            )
        if len(chosen) % self.ranks:
            raise ValueError(
                f"the sampler {name} chose {len(chosen)} photos, which cannot be divided evenly among {self.ranks} ranks; "
                "let it choose a multiple"
            )

    @property
    def _seed(self) -> int:
        return getattr(self.sampler, "seed", 0) if self.seed is None else self.seed

    def _own(self, count: int) -> slice:
        """Return the part of a batch of `count` photos that this rank loads."""
        return shard(count, self.rank, self.ranks)

    def _empty(self, chosen: Tensor) -> PhotoBatch:
        # The views of a photo lie side by side, so that the shards of the ranks in their order make up the batch.
        return _empty_batch(self, chosen[self._own(len(chosen))].repeat_interleave(views_of(self.augment)))

    def _fill(self, number: int, numbered: tuple[int, int, PhotoBatch]) -> PhotoBatch:
        assert not callable(self.augment)
        step, photos, batch = numbered
        # Once per batch, not per photo: it costs a system call.
        self.catalog.check_unchanged()
        count = photos * views_of(self.augment)
        # Every rank draws the crops and flips of the whole batch and uses its shard, so the augmentation of a photo does
        # not depend on the rank that loads it. The generator depends on the step only, not on the worker.
        rng = np.random.default_rng((self._seed, number, step))
        side, windows = draw_windows(self.augment, count, self.catalog.size, self.image_size, rng)
        flips = (rng.random(count) < 0.5).tolist()
        seeds = self._seeds(number, step, count)
        rows = rows_of(batch.photos)  # (photo, height, width, 3), the memory of the batch
        first = self._own(count).start
        for position, photo in enumerate(batch.indices.tolist()):
            window, flip, seed = windows[first + position], flips[first + position], seeds[first + position]
            part = cut(_pixels(self.catalog, photo, side), window, self.image_size, flip)
            rows[position] = change_colors(self.augment, part, seed)
        return batch

    def _augmented(self, number: int, step: int, chosen: Tensor) -> PhotoBatch:
        """Return a batch whose photos have gone through a function."""
        assert callable(self.augment)
        self.catalog.check_unchanged()
        batch = self._empty(chosen)
        rows = rows_of(batch.photos)
        seeds = self._seeds(number, step, len(chosen))[self._own(len(chosen))]
        for position, (photo, seed) in enumerate(zip(batch.indices.tolist(), seeds, strict=True)):
            pixels = _pixels(self.catalog, photo, self.catalog.size).copy()
            rows[position] = apply_function(self.augment, pixels, self.image_size, seed)
        return batch

    def _seeds(self, number: int, step: int, count: int) -> list[int]:
        """Return a seed of the random numbers of each photo of a batch."""
        return np.random.SeedSequence((self._seed, number, step)).generate_state(count).tolist()


def _pixels(catalog: Catalog, photo: int, side: int) -> np.ndarray:
    try:
        return decode_one(catalog.jpeg(photo), side)
    except ValueError as error:
        # The file may have been cut or changed since this batch was begun; then that is the reason to name.
        catalog.check_unchanged()
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
