"""Batches of P classes × K photos."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClassBatches:
    """Draws batches of `per_class` photos of each of batch_size / per_class classes.

    Every class is drawn before any is drawn again. A class with fewer than `per_class` photos repeats them, so that no
    anchor is ever without a positive. The batches follow from the seed and the epoch number alone: a resumed run, another
    machine or another number of workers sees the same ones.

    Attributes:
        labels: (photo,) integers.
        batch_size: photos a batch, a multiple of per_class.
        per_class: K, photos a class; at least 2.
        seed: any non-negative integer.

    Raises:
        ValueError: if the sizes do not fit each other or the number of classes.

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
        if self.per_class < 2:
            raise ValueError(f"per_class {self.per_class} leaves anchors without a positive; use at least 2")
        if self.batch_size // self.per_class > classes:
            raise ValueError(
                f"batch_size {self.batch_size} with {self.per_class} photos a class needs "
                f"{self.batch_size // self.per_class} training classes, but there are {classes}; "
                f"use --batch_size {classes * self.per_class} or less, or a larger --per_class"
            )
        if self.batch_size % self.per_class or self.batch_size < 2 * self.per_class:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of per_class {self.per_class} with at least two "
                f"classes; use {max(self.batch_size // self.per_class, 2) * self.per_class}"
            )

    def __len__(self) -> int:
        """Return the number of batches an epoch: photos / batch_size, at least 1."""
        return max(1, len(self.labels) // self.batch_size)

    def epoch(self, number: int) -> list[Tensor]:
        """Return the batches of one epoch, each a (batch_size,) vector of photo indices."""
        return list(self.draw(number))

    def draw(self, number: int) -> Iterator[Tensor]:
        """Yield the batches of `epoch` one by one, so that the first is there at once however many photos there are."""
        draw = np.random.default_rng((self.seed, number))
        order, starts = self._by_class
        groups = _draw_classes(len(starts) - 1, self.batch_size // self.per_class, draw)
        for _ in range(len(self)):
            members = [order[starts[c] : starts[c + 1]] for c in next(groups)]
            yield torch.from_numpy(
                np.concatenate([_draw_photos(of_class, self.per_class, draw) for of_class in members])
            )

    @cached_property
    def _by_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all photos ordered by class, and where each class starts and the last ends."""
        counts = self.labels.unique(return_counts=True)[1].numpy()
        return np.argsort(self.labels.numpy(), kind="stable"), np.concatenate([[0], np.cumsum(counts)])


def _draw_classes(classes: int, count: int, draw: np.random.Generator) -> Iterator[list[int]]:
    """Yield groups of distinct classes for ever, going through all classes before any comes again."""
    waiting: list[int] = []
    while True:
        group, waiting = waiting[:count], waiting[count:]
        if len(group) < count:
            shuffled = draw.permutation(classes).tolist()
            fresh = list(islice((c for c in shuffled if c not in group), count - len(group)))
            group += fresh
            taken = set(fresh)
            waiting = [c for c in shuffled if c not in taken]
        yield group


def _draw_photos(members: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    return np.resize(draw.permutation(members), count)
