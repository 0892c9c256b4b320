"""Class-balanced batches: P classes with K photos each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from pairlens.core.distributed import rank as rank_of_process
from pairlens.core.distributed import shard, world_size
from pairlens.core.inputs import Numbers, as_labels, as_whole_number


@dataclass(frozen=True, eq=False)
class ClassBatches:
    """Random batches of P = batch_size / per_class classes with K = per_class photos each.

    All classes are drawn once before any class is drawn again. A class with fewer than K photos repeats them, so every
    anchor has a positive. The batches depend only on the seed and the epoch number: a resumed run, another machine or
    another number of workers gets the same batches.

    Attributes:
        labels: (photo,) integers.
        batch_size: photos per batch, a multiple of per_class.
        per_class: K, photos per class; with 1 no photo has a positive in its batch, which only proxies can do without.
        seed: any non-negative integer.

    Raises:
        ValueError: if batch_size and per_class do not fit each other or the number of classes.

    >>> batches = ClassBatches(torch.tensor([0, 0, 0, 1, 1, 2]), batch_size=4, per_class=2, seed=0)
    >>> [len(batch) for batch in batches.epoch(1)]
    [4]
    """

    labels: Tensor
    batch_size: int = 128
    per_class: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        classes = len(self.labels.unique())
        if self.per_class < 1:
            raise ValueError(f"per_class {self.per_class} must be at least 1")
        needed = self.batch_size // self.per_class
        if needed > classes:
            raise ValueError(
                f"batch_size {self.batch_size} with {self.per_class} photos per class needs {needed} training classes, "
                f"but there are {classes}; use --batch_size {classes * self.per_class} or less, or a larger --per_class"
            )
        if self.batch_size % self.per_class or needed < 2:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of per_class {self.per_class} with at least two "
                f"classes; use {max(needed, 2) * self.per_class}"
            )

    def __len__(self) -> int:
        """Return the number of batches per epoch: photos / batch_size, at least 1."""
        return max(1, len(self.labels) // self.batch_size)

    def epoch(self, number: int) -> list[Tensor]:
        """Return the batches of one epoch, each a (batch_size,) vector of photo indices."""
        return list(self.iter_epoch(number))

    def iter_epoch(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of `epoch` one by one, so the first batch does not wait for the others."""
        rng = np.random.default_rng((self.seed, number))
        order, starts = self._by_class
        groups = _groups_of_classes(len(starts) - 1, self.batch_size // self.per_class, rng)
        for _ in range(len(self)):
            photos_of_classes = [order[starts[c] : starts[c + 1]] for c in next(groups)]
            # P rows of K photos become one (batch_size,) vector.
            chosen = [_choose_photos(photos, self.per_class, rng) for photos in photos_of_classes]
            yield torch.from_numpy(np.concatenate(chosen))

    @cached_property
    def _by_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the (photo,) indices ordered by class, and the (class + 1,) positions where each class starts."""
        counts = self.labels.unique(return_counts=True)[1].numpy()
        order = np.argsort(self.labels.numpy(), kind="stable")
        # The last entry is the end of the last class.
        starts = np.concatenate([[0], np.cumsum(counts)])
        return order, starts


class PKSampler(Sampler[list[int]]):
    """The batches of `pairlens train` for anybody's `DataLoader`: lists of photo indices, P classes with K photos each.

    Epochs are numbered from 1, as in training. Each pass over the sampler is one epoch and the next pass the next epoch;
    `set_epoch` says which epoch the next pass is, for example in a resumed run. It is drawn in the main process, so it
    works with any number of workers, persistent or not.

    Under DDP every rank draws the same batches and yields its own part of each, `batch_size` photos of P · K. Frameworks
    that divide batches among ranks themselves get `rank=0, world=1`.

    Args:
        labels: (photo,) integers or truth values: a list, an array or a tensor.
        classes: P, classes per batch; at least 2.
        per_class: K, photos per class; a class with fewer photos repeats them. 1 is for losses on proxies only.
        seed: any non-negative integer.
        rank: number of this process; by default that of the process group, 0 without one.
        world: number of processes; by default that of the process group, 1 without one.

    Raises:
        ValueError: if the labels are not integers, there are fewer classes than P, or the batch cannot be divided evenly
            among the ranks.

    >>> labels = [0, 0, 0, 1, 1, 2, 2, 2]
    >>> sampler = PKSampler(labels, classes=2, per_class=2)
    >>> [sorted(labels[photo] for photo in batch) for batch in sampler]
    [[0, 0, 2, 2], [0, 0, 1, 1]]
    """

    def __init__(
        self,
        labels: Numbers,
        classes: int = 8,
        per_class: int = 4,
        seed: int = 0,
        *,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        classes = as_whole_number(classes, "classes", least=1)
        per_class = as_whole_number(per_class, "per_class", least=1)
        known = as_labels(labels).detach().cpu()
        if not len(known):
            raise ValueError("there are no labels, so there is nothing to draw; give one label per photo")
        present = len(known.unique())
        if not 2 <= classes <= present:
            raise ValueError(
                f"classes {classes} is not possible with labels of {present} classes; a batch needs at least 2 classes and "
                "each of them once"
            )
        self.batches = ClassBatches(known, classes * per_class, per_class, as_whole_number(seed, "seed", least=0))
        self.next_epoch = 1
        self._rank = None if rank is None else as_whole_number(rank, "rank")
        self._world = None if world is None else as_whole_number(world, "world", least=1)
        self._check_ranks()

    @property
    def batch_size(self) -> int:
        """The number of photos that this rank yields per batch."""
        return self.batches.batch_size // self._ranks()[1]

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch that the next pass draws."""
        self.next_epoch = as_whole_number(epoch, "epoch", least=0)

    def __len__(self) -> int:
        """Return the number of batches per epoch: photos / (P · K), at least 1."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the next epoch, each as the indices of the photos of this rank."""
        # This runs at the first `next`. A DataLoader with workers makes an iterator that it never uses; that is no epoch.
        self._check_ranks()
        number = self.next_epoch
        self.next_epoch += 1
        part = shard(self.batches.batch_size, *self._ranks())
        for batch in self.batches.iter_epoch(number):
            yield batch[part].tolist()

    def _ranks(self) -> tuple[int, int]:
        # Asked when they are needed: the process group may be made after the sampler.
        rank = rank_of_process() if self._rank is None else self._rank
        return rank, world_size() if self._world is None else self._world

    def _check_ranks(self) -> None:
        rank, world = self._ranks()
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} processes does not exist; ranks are numbered from 0")
        size = self.batches.batch_size
        if size % world:
            raise ValueError(
                f"a batch of {size} photos cannot be divided evenly among {world} ranks; choose classes · per_class as a "
                "multiple of the number of ranks"
            )


def _groups_of_classes(classes: int, count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield groups of `count` distinct classes without end; every class appears once before any appears again."""
    waiting: list[int] = []
    while True:
        group = waiting[:count]
        waiting = waiting[count:]
        if len(group) < count:
            # The round is over within this group. It is filled from the next shuffled round with other classes; the
            # rest of that round, with the classes that were passed over, waits for the next groups.
            shuffled = rng.permutation(classes).tolist()
            fresh = list(islice((c for c in shuffled if c not in group), count - len(group)))
            group += fresh
            used = set(fresh)
            waiting = [c for c in shuffled if c not in used]
        yield group


def _choose_photos(photos: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    shuffled = rng.permutation(photos)
    # np.resize repeats the permutation where a class has fewer photos than needed; cutting it is ten times as fast.
    return shuffled[:count] if count <= len(shuffled) else np.resize(shuffled, count)
