"""Class-balanced batches: P classes with K photos each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor


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
    # np.resize repeats the permutation where a class has fewer photos than needed.
    return np.resize(rng.permutation(photos), count)
