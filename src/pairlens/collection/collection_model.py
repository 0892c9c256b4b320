"""The model of a collection: what turns photos into the vectors that are searched, and how a store keeps it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from pairlens.collection.photo_view import PhotoView, view_photo
from pairlens.collection.store import Store
from pairlens.collection.vector_map import VectorMap
from pairlens.core.boxes import Box, ShareBox
from pairlens.core.files import atomic_write
from pairlens.core.records import to_plain
from pairlens.core.untrusted import parse_json, read_bytes, strip_control_characters
from pairlens.model.passes import photos_of_a_pass
from pairlens.model.photo_input import PhotoInput

ModelKind: TypeAlias = Literal["run", "backbone", "onnx"]

# The documents of a model begin with this; the fingerprint follows.
MODELS = "models"
KIND_FILE, MAP_FILE = "kind.json", "map.safetensors"
_FILES = {
    "run": ("model.json", "model.safetensors"),
    "backbone": ("backbone.json", "model.safetensors"),
    "onnx": ("model.onnx",),
}
# A document of a database has at most 1 GB.
MAX_MODEL_BYTES = 1_000_000_000
# Photos that are read and embedded together.
BATCH = 32


class NoModelError(ValueError):
    """A collection of vectors that were computed elsewhere has been asked to embed a photo."""


@dataclass(frozen=True, eq=False)
class CollectionModel:
    """A network with everything that determines its vectors.

    Attributes:
        kind: whether it is the model of a run, a backbone as it comes, or an ONNX file.
        name: what it is called in messages.
        fingerprint: names the vectors; two models with one fingerprint give the same vectors.
        dim: of a vector.
        view: how a photo becomes the pixels that the network sees.
        network: an `Embedder`, a `PlainBackbone` or an `OnnxEmbedder`.
        files: contents by name, of a model that is a file itself.
        trained_on: names of the classes that it was trained on, as far as they are known.
        mapped: what the vectors of the network pass through; None if they are searched as they are.
    """

    kind: ModelKind
    name: str
    fingerprint: str
    dim: int
    view: PhotoInput
    network: Any
    files: Mapping[str, bytes] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    mapped: VectorMap | None = None

    def through(self, mapped: VectorMap) -> "CollectionModel":
        """Return the model whose vectors pass through a map, with a fingerprint of its own."""
        fingerprint, name = f"{self.fingerprint}-{mapped.digest}", f"{self.name}, {mapped.steps}"
        return replace(self, mapped=mapped, dim=mapped.matrix.shape[1], fingerprint=fingerprint, name=name)

    def read(self, photo: Any, box: Box | ShareBox | None = None) -> PhotoView:
        """Return a photo, or the part of it in a box, as the model sees it; raises as `view_photo`."""
        return view_photo(photo, self.view, box)

    def embed(self, seen: np.ndarray) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of uint8 (photo, image_size, image_size, 3) pixels."""
        if not len(seen):
            return np.empty((0, self.dim), np.float32)
        step = photos_of_a_pass(seen.shape[1], seen.shape[2])
        parts = [self._embed_batch(seen[start : start + step]) for start in range(0, len(seen), step)]
        vectors = np.concatenate(parts)
        return vectors if self.mapped is None else self.mapped(vectors)

    def _embed_batch(self, seen: np.ndarray) -> np.ndarray:
        if self.kind == "onnx":
            return self.network.embed_pixels(seen)
        import torch

        # (photo, height, width, 3) becomes (photo, 3, height, width) over the same memory.
        batch = torch.from_numpy(np.ascontiguousarray(seen)).permute(0, 3, 1, 2)
        return self.network.embed_batch(batch).float().numpy()


class _Torch(Protocol):
    architecture: Any

    def state_dict(self) -> dict[str, Any]: ...


def model_fingerprint(weights: str, view: PhotoInput) -> str:
    """Return the fingerprint of a model: the check sum of its weights, and a digest of how it sees a photo.

    >>> model_fingerprint("6522df69", PhotoInput(224, 252, 95))
    '6522df69-7f0def20'
    """
    text = json.dumps(to_plain(view), sort_keys=True)
    return f"{weights}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def open_model(source: str | Path) -> CollectionModel:
    """Open a model by what a user writes: the folder of a run, an ONNX file, or the name of a backbone.

    A backbone comes with the weights of ImageNet, its own strides and its own pooling.

    Args:
        source: the folder, the file or the name.

    Raises:
        ValueError: naming what is missing or damaged.
    """
    path = Path(source)
    if path.is_dir():
        return run_model(path)
    if path.suffix.lower() == ".onnx":
        return onnx_model(path)
    if "/" in str(source) or "\\" in str(source):
        raise ValueError(f"{source} is neither the folder of a run nor an ONNX file; check the path")
    return backbone_model(str(source))


def as_model(model: str | Path | CollectionModel | None) -> CollectionModel:
    """Return a model by what a caller writes, see `open_model`; None for the default."""
    if model is None:
        return default_model()
    return model if isinstance(model, CollectionModel) else open_model(model)


def default_model() -> CollectionModel:
    """Return the best backbone whose ImageNet weights are installed, as it comes.

    Raises:
        ValueError: if no weights are installed.
    """
    from pairlens.model.offline_backbone import best_offline_backbone

    return backbone_model(*best_offline_backbone())


def run_model(folder: Path) -> CollectionModel:
    """Return the model of a run, or of a folder into which an `Embedder` was saved."""
    from pairlens.model.embedder import Embedder

    embedder = Embedder.load(folder)
    if embedder.architecture.features:
        raise ValueError(
            f"{folder} was trained on given features and cannot embed photos, so no collection can speak it; train a run on "
            "photos"
        )
    model = _torch_model("run", str(folder), embedder)
    return replace(model, trained_on=_training_classes(folder))


def _training_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes that a run was trained on; none if its data set is not there any more."""
    from pairlens.experiments.run_folder import open_run

    try:
        catalog = open_run(folder).splits.train
    except (OSError, ValueError):
        return ()
    return tuple(sorted({catalog.class_names[label] for label in catalog.labels.unique().tolist()}))


def backbone_model(name: str, image_size: int = 224, weights: str = "imagenet") -> CollectionModel:
    """Return a backbone as it comes.

    Args:
        name: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        image_size: height and width of the photos.
        weights: "imagenet", "none" or a file.

    Raises:
        ValueError: if the name is unknown or its weights cannot be had.
    """
    from pairlens.model.backbone import Backbone
    from pairlens.model.plain_backbone import PlainBackbone

    plain = PlainBackbone(Backbone(name, weights, "none", image_size), name, image_size)
    return _torch_model("backbone", f"{name} as it comes, {image_size} px", plain)


def onnx_model(file: Path) -> CollectionModel:
    """Return a model that `pairlens export` wrote; it runs without PyTorch.

    A float32 export has the fingerprint of the model that it came from, so both may embed for one collection.
    """
    from pairlens.model.onnx_embedder import OnnxEmbedder
    from pairlens.model.onnx_file import read_onnx

    checked = read_onnx(file)
    network = OnnxEmbedder(checked)
    fingerprint = model_fingerprint(network.fingerprint(), network.view)
    files = {_FILES["onnx"][0]: checked.contents}
    return CollectionModel("onnx", str(file), fingerprint, network.dim, network.view, network, files=files)


def save_model(model: CollectionModel, store: Store) -> None:
    """Copy a model into the documents of a store, so that the collection needs nothing else wherever it is opened."""
    prefix = f"{MODELS}/{model.fingerprint}/"
    if store.document(prefix + KIND_FILE) is not None:
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        if not model.files:
            model.network.save(folder)
        for file in _FILES[model.kind]:
            store.write_document(prefix + file, model.files.get(file) or read_bytes(folder / file, MAX_MODEL_BYTES))
    if model.mapped is not None:
        store.write_document(prefix + MAP_FILE, model.mapped.contents())
    # Written last: a model whose copy was interrupted has no kind and is copied again.
    contents = {"version": 1, "kind": model.kind, "name": model.name, "trained_on": list(model.trained_on)}
    store.write_document(prefix + KIND_FILE, json.dumps(contents).encode())


def load_model(store: Store, fingerprint: str) -> CollectionModel:
    """Open a model that `save_model` copied into a store.

    Raises:
        NoModelError: if the store has vectors of this fingerprint but no such model.
        ValueError: if the copy is damaged.
    """
    return _checked_fingerprint(
        model_from_documents(model_documents(store, fingerprint), store.name), store, fingerprint
    )


def model_documents(store: Store, fingerprint: str) -> dict[str, bytes]:
    """Return the files of a stored model by name; raises as `load_model`."""
    prefix = f"{MODELS}/{fingerprint}/"
    kind = _read_kind(store.document(prefix + KIND_FILE), store.name)[0]
    documents: dict[str, bytes] = {}
    for file in (KIND_FILE, *_FILES[kind]):
        contents = store.document(prefix + file)
        if contents is None:
            raise ValueError(f"the model {fingerprint} in {store.name} lacks {file}; restore the collection")
        documents[file] = contents
    mapped = store.document(prefix + MAP_FILE)
    return documents if mapped is None else {**documents, MAP_FILE: mapped}


def model_from_documents(documents: Mapping[str, bytes], where: str = "the collection") -> CollectionModel:
    """Open a model from its files by name; raises ValueError if one is damaged."""
    kind, name, trained_on = _read_kind(documents[KIND_FILE], where)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in _FILES[kind]:
            with atomic_write(folder / file) as part:
                part.write(documents[file])
        model = _OPENERS[kind](folder)
    if MAP_FILE in documents:
        model = model.through(VectorMap.read(documents[MAP_FILE]))
    return replace(model, name=name, trained_on=trained_on)


def _checked_fingerprint(model: CollectionModel, store: Store, fingerprint: str) -> CollectionModel:
    if model.fingerprint != fingerprint:
        raise ValueError(
            f"the model in {store.name} has the fingerprint {model.fingerprint}, but its vectors are of {fingerprint}; "
            "restore the collection"
        )
    return model


def remove_model(store: Store, fingerprint: str) -> None:
    """Remove the copy of a model from a store."""
    for name in store.documents():
        if name.startswith(f"{MODELS}/{fingerprint}/"):
            store.remove_document(name)


def trained_classes(store: Store, fingerprint: str) -> frozenset[str]:
    """Return the names of the classes that a stored model was trained on; raises as `load_model`."""
    return frozenset(_read_kind(store.document(f"{MODELS}/{fingerprint}/{KIND_FILE}"), store.name)[2])


def knows_training(store: Store, fingerprint: str) -> bool:
    """Return whether it is known on which classes a stored model was trained; those of a backbone are not a user's."""
    try:
        kind, _, trained_on = _read_kind(store.document(f"{MODELS}/{fingerprint}/{KIND_FILE}"), store.name)
    except NoModelError:
        return False
    return kind == "backbone" or bool(trained_on)


def model_name(store: Store, fingerprint: str) -> str:
    """Return what a stored model is called; raises as `load_model`."""
    return _read_kind(store.document(f"{MODELS}/{fingerprint}/{KIND_FILE}"), store.name)[1]


def _read_kind(contents: bytes | None, where: str) -> tuple[ModelKind, str, tuple[str, ...]]:
    """Return the kind of a stored model, its name and the classes that it was trained on."""
    if contents is None:
        raise NoModelError(
            f"{where} holds vectors that were computed elsewhere and no model, so it cannot embed a photo; search by "
            "an id or with a vector, or give it a model with pairlens collection migrate"
        )
    match parse_json(contents.decode("utf-8", "replace")):
        case {
            "version": 1,
            "kind": "run" | "backbone" | "onnx" as kind,
            "name": str(name),
            "trained_on": list(classes),
        }:
            return kind, strip_control_characters(name), tuple(map(str, classes))
    raise ValueError(f"{where}: the {KIND_FILE} of its model is damaged or of a newer version; restore the collection")


def _saved_backbone(folder: Path) -> CollectionModel:
    from pairlens.model.plain_backbone import PlainBackbone

    return _torch_model("backbone", "backbone", PlainBackbone.load(folder))


def _saved_onnx(folder: Path) -> CollectionModel:
    return onnx_model(folder / _FILES["onnx"][0])


_OPENERS: dict[ModelKind, Callable[[Path], CollectionModel]] = {
    "run": run_model,
    "backbone": _saved_backbone,
    "onnx": _saved_onnx,
}


def _torch_model(kind: ModelKind, name: str, network: _Torch) -> CollectionModel:
    from pairlens.model.check_sum import check_sum
    from pairlens.model.packed_convolution import pack_convolutions

    # Nobody trains the network of a collection.
    pack_convolutions(network)
    shape = network.architecture
    view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality, shape.stored_reading)
    fingerprint = model_fingerprint(check_sum(network.state_dict()), view)
    return CollectionModel(kind, name, fingerprint, shape.dim, view, network)
