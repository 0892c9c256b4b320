"""The one pass of a frozen backbone over photos: their features, pooled in all three ways, into a cache."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from pairlens.core.files import remove_old_leftovers
from pairlens.data.augmentation import AugmentName
from pairlens.data.loader import TestBatches, TrainingBatches
from pairlens.experiments.feature_cache import LETTERS, SHARD_PHOTOS, FeatureCache
from pairlens.model.descriptors import Letter, descriptor
from pairlens.model.embedder import Embedder
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.packed_convolution import packed_convolutions
from pairlens.model.passes import passes_of

# A divisor of the photos of a shard, so that no batch belongs to two of them.
BATCH = 32


@dataclass(frozen=True)
class View:
    """How the photos of a feature pass are seen.

    Attributes:
        augment: the augmentation; None shows the photos as they are tested.
        number: the number of the view, from which its crops and flips are drawn.
        seed: seed of the augmentation.
    """

    augment: AugmentName | None = None
    number: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the view in the key of a cache."""
        return "test" if self.augment is None else f"{self.augment}-{self.number}"


@dataclass(frozen=True)
class _InOrder:
    """An `EpochSampler` whose batches hold the first photos in their order."""

    photos: int

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every epoch has the same order."""

    def __len__(self) -> int:
        return -(-self.photos // BATCH)

    def __iter__(self) -> Iterator[list[int]]:
        return (list(range(start, min(start + BATCH, self.photos))) for start in range(0, self.photos, BATCH))


def fill_cache(
    cache: FeatureCache,
    positions: Tensor,
    model: Embedder,
    view: View,
    workers: int = 2,
    watch: Callable[[Iterable, int], Iterable] | None = None,
) -> None:
    """Compute and store the features of photos that are not stored yet; each shard is stored when it is complete.

    Args:
        cache: where they are stored.
        positions: positions of the photos that are needed; their whole shards are computed.
        model: its backbone computes, in evaluation mode.
        view: how it sees the photos.
        workers: number of threads that decode photos.
        watch: wraps the batches to show progress; called with the batches and their number.
    """
    missing = cache.missing(positions)
    if not missing:
        return
    # The folder has no lock, because several processes may compute features of the same photos.
    remove_old_leftovers(cache.folder)
    rows = [cache.shard_rows(shard) for shard in missing]
    count = sum(-(-(part.stop - part.start) // BATCH) for part in rows)
    batches = ((shard, photos) for shard in missing for photos in _photos_of_shard(cache, shard, model, view, workers))
    watched = batches if watch is None else watch(batches, count)
    with in_evaluation_mode(model), packed_convolutions(model):
        for shard, group in groupby(watched, key=itemgetter(0)):
            parts = [pool_all(model, photos) for _, photos in group]
            cache.write(shard, {name: torch.cat([part[name] for part in parts]) for name in LETTERS})


def _photos_of_shard(cache: FeatureCache, shard: int, model: Embedder, view: View, workers: int) -> Iterator[Tensor]:
    """Yield the photos of a shard as batches, (photo, 3, image_size, image_size) uint8."""
    size = model.architecture.image_size
    if view.augment is None:
        part = cache.photos.at(cache.shard_rows(shard))
        yield from (batch.photos for batch in TestBatches(part, size, BATCH, workers))
        return
    # The crops of a batch depend on seed, epoch and step alone: the epoch is the number of the view, and the steps are
    # counted over all shards, so that each photo has crops of its own.
    augment = "random_resized_crop" if view.augment == "two_views" else view.augment
    up_to_here = _InOrder(cache.shard_rows(shard).stop)
    batches = TrainingBatches(cache.photos, up_to_here, size, augment, workers, seed=view.seed)
    yield from (batch.photos for batch in batches.epoch(view.number, start=shard * SHARD_PHOTOS // BATCH))


def pool_all(model: Embedder, photos: Tensor) -> dict[Letter, Tensor]:
    """Return the mean, the maximum and the generalised mean of the feature maps of photos, (photo, channel) each.

    The model is in evaluation mode; the results are float32, on the CPU.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [_pooled(model.feature_map(part)) for part in passes_of(photos.to(device, non_blocking=True))]
    return {letter: torch.cat([part[letter] for part in parts]) for letter in LETTERS}


def _pooled(features: Tensor) -> dict[Letter, Tensor]:
    return {letter: descriptor(letter)(features).float().cpu() for letter in LETTERS}
