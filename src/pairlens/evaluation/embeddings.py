"""The embeddings of a catalog, in memory and on disk."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from pairlens.core.distributed import gather_rows, rank, shard, world_size
from pairlens.core.files import write_tensors
from pairlens.core.untrusted import is_plain_text, parse_json
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TestBatches
from pairlens.model.embedder import Embedder


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The embedded photos of a part of a data set.

    Attributes:
        vectors: (photo, dim) float32 unit vectors.
        labels: (photo,) int64.
        paths: the photos' keys in their catalog.
        class_names: name of each label, as far as known.
        catalog: digest of the prepared data set they come from, empty if unknown.
        model: fingerprint of the model that made them, empty if unknown.

    Raises:
        ValueError: if vectors, labels and paths are not as many as each other, or of the wrong shape.
    """

    vectors: Tensor
    labels: Tensor
    paths: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    catalog: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.labels.ndim != 1 or not self.vectors.is_floating_point():
            raise ValueError(
                f"vectors of shape {tuple(self.vectors.shape)} and labels of shape {tuple(self.labels.shape)} are not "
                "(photo, dim) and (photo,)"
            )
        if not len(self.vectors) == len(self.labels) == len(self.paths):
            raise ValueError(
                f"{len(self.vectors)} vectors, {len(self.labels)} labels and {len(self.paths)} paths do not belong together"
            )

    def save(self, file: Path) -> None:
        """Write vectors, labels and paths into one safetensors file, whole or not at all."""
        names = {"paths": json.dumps(self.paths), "class_names": json.dumps(self.class_names)}
        tensors = {"vectors": self.vectors.contiguous(), "labels": self.labels.contiguous()}
        write_tensors(file, tensors, {**names, "catalog": self.catalog, "model": self.model})

    @classmethod
    def load(cls, file: Path) -> "Embeddings":
        """Open what `save` wrote; raises ValueError if it is missing or damaged."""
        try:
            with safe_open(file, framework="pt") as stored:
                names = stored.metadata()
            tensors = load_file(file)
            paths, class_names = _texts(names["paths"]), _texts(names["class_names"])
            _check(tensors["vectors"], tensors["labels"], len(class_names))
            told = (names.get("catalog", ""), names.get("model", ""))
            return cls(tensors["vectors"], tensors["labels"], paths, class_names, *told)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file} is not a readable file of embeddings ({error}); write it again with pairlens evaluate"
            ) from error


def _texts(stored: str) -> tuple[str, ...]:
    texts = parse_json(stored)
    if not isinstance(texts, list) or not all(isinstance(text, str) and is_plain_text(text) for text in texts):
        raise ValueError("its names are no list of texts without control characters")
    return tuple(texts)


def _check(vectors: Tensor, labels: Tensor, classes: int) -> None:
    if vectors.ndim != 2 or vectors.dtype != torch.float32 or labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"its vectors are {vectors.dtype} of shape {tuple(vectors.shape)}, its labels {labels.dtype}")
    # Without names the labels may be any, but for those that count from the end.
    if len(labels) and (int(labels.min()) < 0 or 0 < classes <= int(labels.max())):
        raise ValueError(f"its labels run from {int(labels.min())} to {int(labels.max())}, its classes are {classes}")
    if not vectors.numel() or not torch.isfinite(vectors).all():
        raise ValueError("it has no vectors, or some that are not finite")


def embed(
    model: Embedder,
    catalog: Catalog,
    *,
    batch_size: int = 128,
    workers: int = 2,
    watch: Callable[[Iterable, int], Iterable] | None = None,
) -> Embeddings:
    """Return the embeddings of all photos of a catalog, in its order; each rank embeds its share, and has all.

    Args:
        model: on any device.
        catalog: the photos.
        batch_size: photos at once.
        workers: threads that decode.
        watch: wraps the batches to show progress; called with the batches and their number.
    """
    device = next(model.parameters()).device
    mine = shard(len(catalog), rank(), world_size())
    own = replace(catalog, rows=catalog.rows[mine], labels=catalog.labels[mine])
    batches = TestBatches(own, model.architecture.image_size, batch_size, workers, pin=device.type == "cuda")
    watched = batches if watch is None else watch(batches, len(batches))
    parts = [model.embed(batch.photos.to(device, non_blocking=True)).float().cpu() for batch in watched]
    vectors = gather_rows(torch.cat([torch.empty(0, model.architecture.dim), *parts]))
    return Embeddings(vectors, catalog.labels, catalog.paths, catalog.class_names, catalog.digest)
