"""Embeddings of the photos of a catalog, in memory and on disk."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.core.distributed import gather_rows, rank, shard, world_size
from pairlens.core.files import write_tensors
from pairlens.core.inputs import as_labels, as_matrix, as_whole_number
from pairlens.core.untrusted import is_plain_text, parse_json, regular_file
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TestBatches
from pairlens.model.embedder import Architecture
from pairlens.model.packed_convolution import packed_convolutions


class PhotoModel(Protocol):
    """A model that embeds photos: an `Embedder`, or the `PlainBackbone` that it is compared with."""

    # Only its `image_size` and `dim` are read.
    architecture: Architecture

    def embed_batch(self, photos: Tensor, /) -> Tensor:
        """Return (photo, dim) unit vectors."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the weights, whose device is where photos are embedded."""
        ...


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embedded photos of a part of a data set.

    Attributes:
        vectors: (photo, dim) float32 unit vectors.
        labels: (photo,) int64.
        paths: the photos' keys in their catalog.
        class_names: name of each label; empty if unknown.
        catalog: digest of the prepared data set that the photos come from; empty if unknown.
        model: fingerprint of the model that made the vectors; empty if unknown.

    Raises:
        ValueError: if vectors, labels and paths differ in number or have the wrong shape.
    """

    vectors: Tensor
    labels: Tensor
    paths: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    catalog: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        # People may give arrays and lists; a frozen record can only be changed like this.
        object.__setattr__(self, "vectors", as_matrix(self.vectors, "vectors"))
        object.__setattr__(self, "labels", as_labels(self.labels))
        object.__setattr__(self, "paths", tuple(self.paths))
        if not len(self.vectors) == len(self.labels) == len(self.paths):
            raise ValueError(
                f"{len(self.vectors)} vectors, {len(self.labels)} labels and {len(self.paths)} paths do not belong "
                "together; give one label and one path per vector"
            )

    def save(self, file: Path) -> None:
        """Write vectors, labels and paths into one safetensors file, completely or not at all."""
        names = {"paths": json.dumps(self.paths), "class_names": json.dumps(self.class_names)}
        tensors = {"vectors": self.vectors.contiguous(), "labels": self.labels.contiguous()}
        write_tensors(file, tensors, {**names, "catalog": self.catalog, "model": self.model})

    @classmethod
    def load(cls, file: Path) -> "Embeddings":
        """Read a file that `save` wrote; raises ValueError if it is missing or damaged."""
        try:
            # The texts are read first; a file without them is refused before its tensors are used.
            with safe_open(regular_file(file), framework="pt") as stored:
                metadata = stored.metadata()
            tensors = load_file(regular_file(file))
            paths, class_names = _read_texts(metadata["paths"]), _read_texts(metadata["class_names"])
            _check_tensors(tensors["vectors"], tensors["labels"], len(class_names))
            # Files of earlier versions do not have the last two entries.
            return cls(
                tensors["vectors"],
                tensors["labels"],
                paths,
                class_names,
                catalog=metadata.get("catalog", ""),
                model=metadata.get("model", ""),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file} is not a readable file of embeddings ({error}); write it again with pairlens evaluate"
            ) from error


def _read_texts(stored: str) -> tuple[str, ...]:
    texts = parse_json(stored)
    if not isinstance(texts, list) or not all(isinstance(text, str) and is_plain_text(text) for text in texts):
        raise ValueError("its names are not a list of texts without control characters")
    return tuple(texts)


def _check_tensors(vectors: Tensor, labels: Tensor, classes: int) -> None:
    if vectors.ndim != 2 or vectors.dtype != torch.float32 or labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"its vectors are {vectors.dtype} of shape {tuple(vectors.shape)}, its labels {labels.dtype}")
    # Without class names any non-negative label is valid; a negative one would index from the end.
    if len(labels) and (int(labels.min()) < 0 or 0 < classes <= int(labels.max())):
        raise ValueError(f"its labels run from {int(labels.min())} to {int(labels.max())}, its classes are {classes}")
    if not vectors.numel() or not torch.isfinite(vectors).all():
        raise ValueError("it has no vectors, or vectors that are not finite")


def embed(
    model: PhotoModel,
    catalog: Catalog,
    *,
    batch_size: int = 128,
    workers: int = 2,
    watch: Callable[[Iterable, int], Iterable] | None = None,
) -> Embeddings:
    """Return the embeddings of all photos of a catalog, in its order; each rank embeds its shard and returns all.

    Args:
        model: on any device.
        catalog: the photos.
        batch_size: number of photos that go through the model at a time.
        workers: number of threads that decode photos.
        watch: wraps the batches to show progress; called with the batches and their number.
    """
    batch_size = as_whole_number(batch_size, "batch_size", least=1)
    workers = as_whole_number(workers, "workers", least=0)
    device = next(model.parameters()).device
    rows = shard(len(catalog), rank(), world_size())
    shard_of_rank = catalog.at(rows)
    batches = TestBatches(shard_of_rank, model.architecture.image_size, batch_size, workers, pin=device.type == "cuda")
    watched = batches if watch is None else watch(batches, len(batches))
    with packed_convolutions(model):
        # (photo, dim) of each batch; the vectors are collected on the CPU, because a data set need not fit on a GPU.
        parts = [model.embed_batch(batch.photos.to(device, non_blocking=True)).float().cpu() for batch in watched]
    # The empty tensor gives a rank without photos a tensor of the right width to send.
    vectors = gather_rows(torch.cat([torch.empty(0, model.architecture.dim), *parts]))
    return Embeddings(vectors, catalog.labels, catalog.paths, catalog.class_names, catalog.digest)
