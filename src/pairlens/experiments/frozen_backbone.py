"""Training and evaluation behind a frozen backbone, which runs once per photo and view; its features are read afterwards.

Features that another program has computed stand in the place of those that it would compute.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pairlens.core.distributed import world_size
from pairlens.core.records import require
from pairlens.core.similarity import unit
from pairlens.data.augmentation import AugmentName, views_of
from pairlens.data.catalog import Catalog
from pairlens.data.loader import PhotoBatch, TrainingBatches
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.build import choose_device
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.feature_cache import FeatureCache, FeatureKey, check_size
from pairlens.experiments.feature_pass import View, fill_cache, pool_all
from pairlens.experiments.splits import open_splits
from pairlens.model.descriptors import Letter, letters
from pairlens.model.embedder import Embedder
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.plain_backbone import PlainBackbone

# The crops of the views are the same for all seeds of a run, which share the stored features; the seed of a run decides
# which view a batch takes.
VIEW_SEED = 0
# Photos that are embedded at a time, which bounds the memory.
CHUNK = 4096
# Two ways of pooling are the same if their unit vectors differ by no more than rounding.
ROUNDING = 1e-4


@dataclass(eq=False)
class FrozenBackbone:
    """The features of the photos of a run whose backbone is not trained; computed, stored and read at their first use.

    Attributes:
        experiment: its settings.
        model: its model; the weights of the backbone must not change.
        train: its training photos.
        watch: wraps the batches of a pass of the backbone, to show progress.

    Raises:
        ValueError: if several ranks train, or the features would be too large.
    """

    experiment: Experiment
    model: Embedder
    train: Catalog
    watch: Callable[[Iterable, int], Iterable] | None = None
    _whole: Catalog = field(init=False, repr=False)
    _read: dict[bytes, Tensor] = field(init=False, repr=False, default_factory=dict)
    _weights: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        self._whole = self.train
        require(
            world_size() == 1,
            "--freeze backbone trains in one process, which takes seconds; start it without torchrun, or use --warm_up "
            f"{self.experiment.run.epochs} in its place",
        )
        # Given features are in memory already.
        if self.train.channels:
            return
        self._whole = Catalog.open(self.train.file)
        check_size(len(self._whole), 1, self._channels)
        check_size(len(self.train), max(1, self.experiment.batches.views), self._channels)

    @property
    def _channels(self) -> int:
        return self.model.backbone.channels

    def batches(self, drawn: TrainingBatches) -> "FeatureBatches":
        """Return the batches of features in the place of the batches of photos that would be drawn."""
        return FeatureBatches(self, drawn, views_of(self.experiment.batches.augment))

    def views(self) -> Tensor:
        """Return the features of the training photos in every view, (view, photo, descriptor, channel)."""
        config = self.experiment.batches
        if not config.views:
            return self.pooled(self.train)[None]
        photos = self._whole.select("train")
        # An experiment refuses a function, whose results a key cannot name.
        augment: AugmentName = config.augment  # pyright: ignore[reportAssignmentType]
        views = [View(augment, number, VIEW_SEED) for number in range(config.views)]
        first = self._features(photos, self.train, views[0])
        # Filled view by view, so that no view lies in memory twice.
        found = first.new_empty(len(views), *first.shape)
        found[0] = first
        for number, view in enumerate(views[1:], 1):
            found[number] = self._features(photos, self.train, view)
        return found

    def pooled(self, photos: Catalog) -> Tensor:
        """Return the features of photos as they are tested, (photo, descriptor, channel)."""
        if photos.channels:
            # (photo, descriptor, channel): every descriptor has the same vector.
            return photos.vectors[:, None].expand(-1, len(letters(self.model.architecture.descriptors)), -1)
        key = photos.rows.numpy().tobytes()
        if key not in self._read:
            self._read[key] = self._features(self._whole, photos, View())
        return self._read[key]

    def _features(
        self, cached: Catalog, photos: Catalog, view: View, descriptors: tuple[Letter, ...] | None = None
    ) -> Tensor:
        """Return the features of photos, which are computed first if they are not stored."""
        shape = self.model.architecture
        device = next(self.model.parameters()).device.type
        # A resumed run has the weights of its checkpoint only after it was opened, so they are read here.
        self._weights = self._weights or digest_of_weights(self.model.backbone.state_dict())
        key = FeatureKey(
            self._whole.digest,
            shape.backbone,
            self._weights,
            shape.stride,
            shape.image_size,
            view.name,
            view.seed,
            device,
        )
        cache = FeatureCache(cached, key, self._channels)
        # Both columns ascend, so each row of the file is found among those of the cache.
        positions = torch.searchsorted(cached.rows, photos.rows)
        fill_cache(cache, positions, self.model, view, self.experiment.batches.workers, self.watch)
        return cache.read(positions, descriptors or letters(shape.descriptors))

    def embed(self, photos: Catalog) -> Embeddings:
        """Return the embeddings of photos by the layers after the backbone, as they are now."""
        parts = [self.model.embed_batch(self._on_device(part)) for part in self.pooled(photos).split(CHUNK)]
        return self._embeddings(torch.cat(parts).float().cpu(), photos)

    def embed_set(self, queries: Catalog, gallery: Catalog | None) -> RetrievalSet:
        """Return the embeddings of queries and gallery."""
        return RetrievalSet(self.embed(queries), None if gallery is None else self.embed(gallery))

    def embed_plain(self, plain: PlainBackbone, queries: Catalog, gallery: Catalog | None) -> RetrievalSet | None:
        """Return what the backbone as it comes makes of queries and gallery; None unless it pools the stored mean."""
        if not self._pools_mean(plain):
            return None
        return RetrievalSet(*(self._mean_of(photos) for photos in (queries, gallery) if photos is not None))

    def _mean_of(self, photos: Catalog) -> Embeddings:
        return self._embeddings(unit(self._features(self._whole, photos, View(), ("S",))[:, 0]), photos)

    def _pools_mean(self, plain: PlainBackbone) -> bool:
        """Return whether the plain backbone gives the mean of the feature map of this model, tried with two photos."""
        size = self.model.architecture.image_size
        noise = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
        photos = torch.from_numpy(noise).to(next(self.model.parameters()).device)
        with in_evaluation_mode(self.model):
            mean = unit(pool_all(self.model, photos)["S"])
        given = plain.embed_batch(photos).float().cpu()
        return given.shape == mean.shape and bool((given - mean).abs().max() < ROUNDING)

    def _on_device(self, features: Tensor) -> Tensor:
        return features.to(next(self.model.parameters()).device)

    @staticmethod
    def _embeddings(vectors: Tensor, photos: Catalog) -> Embeddings:
        return Embeddings(vectors, photos.labels, photos.paths, photos.class_names, photos.digest)


@dataclass(eq=False)
class FeatureBatches:
    """Batches of stored features, drawn as batches of photos would be; see `TrainingPhotos`.

    Attributes:
        frozen: the features.
        drawn: draws the photos of each batch.
        repeats: how many views of each photo a batch holds.
    """

    frozen: FrozenBackbone
    drawn: TrainingBatches
    repeats: int
    _views: Tensor | None = field(init=False, repr=False, default=None)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self.drawn)

    def epoch(self, number: int, start: int = 0) -> Iterator[PhotoBatch]:
        """Yield the batches of one epoch, without the first `start`; the features are (photo, descriptor, channel)."""
        if self._views is None:
            self._views = self.frozen.views()
        features, labels = self._views, self.frozen.train.labels
        seed = self.frozen.experiment.run.seed
        for step, photos in islice(enumerate(self.drawn.drawn(number)), start, None):
            # The views of a photo lie side by side, as in batches of photos.
            indices = photos.repeat_interleave(self.repeats)
            # Like an augmentation, the choice depends on seed, epoch and step alone.
            views = _draw_views(np.random.default_rng((seed, number, step)), len(photos), len(features), self.repeats)
            yield PhotoBatch(features[views, indices], labels[indices], indices)


def _draw_views(rng: np.random.Generator, photos: int, views: int, repeats: int) -> Tensor:
    """Return which views a batch takes: for each photo `repeats` different ones, or all the same if there is only one."""
    if views == 1:
        return torch.zeros(photos * repeats, dtype=torch.int64)
    # The order of random numbers is a random order: (photo, view), of which each row keeps the first columns.
    return torch.from_numpy(rng.random((photos, views)).argsort(axis=1)[:, :repeats].reshape(-1))


def store_features(experiment: Experiment, watch: Callable[[Iterable, int], Iterable] | None = None) -> None:
    """Compute and store the features that runs of an experiment will read, so that processes need not wait for each other.

    Random weights are left out, because every seed has its own.

    Raises:
        ValueError: as opening the data set and the backbone of the experiment.
    """
    if experiment.objective.freeze == "none" or experiment.weights == "none":
        return
    splits = open_splits(experiment)
    model = Embedder.from_architecture(experiment.model, experiment.weights)
    model = model.to(choose_device(experiment.run.device), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    frozen = FrozenBackbone(experiment, model, splits.train, watch)
    frozen.views()
    for photos in (splits.validation, splits.test, splits.gallery):
        if photos is not None:
            frozen.pooled(photos)


def digest_of_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names and shapes.

    >>> digest_of_weights({"weight": torch.zeros(2)})[:8]
    '162a6f1e'
    """
    total = hashlib.sha256()
    for name, tensor in weights.items():
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # The bytes of the tensor, in any number format, as one flat row.
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
