"""The embeddings of a catalog, in memory and on disk."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairlens.core.reading import is_plain_text, parse_json
from pairlens.data.catalog import Catalog
from pairlens.data.loading import TestBatches
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
    """

    vectors: Tensor
    labels: Tensor
    paths: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    catalog: str = ""

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.labels) == len(self.paths):
            raise ValueError(
                f"{len(self.vectors)} vectors, {len(self.labels)} labels and {len(self.paths)} paths do not belong together"
            )

    def save(self, file: Path) -> None:
        """Write vectors, labels and paths into one safetensors file, whole or not at all."""
        names = {"paths": json.dumps(self.paths), "class_names": json.dumps(self.class_names), "catalog": self.catalog}
        part = file.with_name(file.name + ".part")
        save_file({"vectors": self.vectors.contiguous(), "labels": self.labels.contiguous()}, part, metadata=names)
        part.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Embeddings":
        """Open what `save` wrote; raises ValueError if it is missing or damaged."""
        try:
            with safe_open(file, framework="pt") as stored:
                names = stored.metadata()
            tensors = load_file(file)
            paths, class_names = _texts(names["paths"]), _texts(names["class_names"])
            _check(tensors["vectors"], tensors["labels"])
            return cls(tensors["vectors"], tensors["labels"], paths, class_names, names.get("catalog", ""))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file} is not a readable file of embeddings ({error}); write it again with pairlens evaluate"
            ) from error


def _texts(stored: str) -> tuple[str, ...]:
    texts = parse_json(stored)
    if not isinstance(texts, list) or not all(isinstance(text, str) and is_plain_text(text) for text in texts):
        raise ValueError("its names are no list of texts without control characters")
    return tuple(texts)


def _check(vectors: Tensor, labels: Tensor) -> None:
    if vectors.ndim != 2 or vectors.dtype != torch.float32 or labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"its vectors are {vectors.dtype} of shape {tuple(vectors.shape)}, its labels {labels.dtype}")
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
    """Return the embeddings of all photos of a catalog, in its order.

    Args:
        model: on any device.
        catalog: the photos.
        batch_size: photos at once.
        workers: processes that decode.
        watch: wraps the batches to show progress; called with the batches and their number.
    """
    device = next(model.parameters()).device
    batches = TestBatches(catalog, model.architecture.image_size, batch_size, workers, pin=device.type == "cuda")
    watched = batches if watch is None else watch(batches, len(batches))
    vectors = [model.embed(batch.photos.to(device, non_blocking=True)).float().cpu() for batch in watched]
    return Embeddings(torch.cat(vectors), catalog.labels, catalog.paths, catalog.class_names, catalog.digest)
