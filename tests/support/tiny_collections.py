"""A collection with a tiny model, and photos with distinct contents, as files or as pixels."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import CollectionModel, _torch_model
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.plain_backbone import PlainBackbone

SIZE = 32


@cache
def tiny_backbone(seed: int = 0, name: str = "test_resnet") -> CollectionModel:
    """A backbone with random weights; another seed is another model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = PlainBackbone(Backbone(name, "none", "none", SIZE), name, SIZE)
    return _torch_model("backbone", f"tiny {seed}", plain)


@cache
def tiny_embedder(seed: int = 1) -> Embedder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Embedder(
            backbone="test_resnet", descriptors="SG", dim=8, weights="none", stride="none", image_size=SIZE
        ).eval()


def tiny_run(seed: int = 1) -> CollectionModel:
    """An `Embedder`, whose matches can be explained exactly."""
    return _torch_model("run", f"tiny run {seed}", tiny_embedder(seed))


def pixels(number: int, height: int = 40, width: int = 48) -> np.ndarray:
    """A photo of coarse noise, which compresses to pixels that are nearly the same."""
    coarse = np.random.default_rng(number).integers(0, 255, (8, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(number: int, kind: str = "PNG", height: int = 40, width: int = 48, quality: int = 90) -> bytes:
    contents = io.BytesIO()
    options = {"quality": quality} if kind in ("JPEG", "WEBP") else {}
    Image.fromarray(pixels(number, height, width)).save(contents, kind, **options)
    return contents.getvalue()


KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}


def write_photo(file: Path, number: int, height: int = 40, width: int = 48) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(number, KINDS[file.suffix.lower()], height, width))
    return file


def photo_folder(folder: Path, classes: str = "ab", shots: int = 3) -> Path:
    """Write a folder for each class with photos of their own."""
    for place, name in enumerate(classes):
        for shot in range(shots):
            write_photo(folder / name / f"{shot}.png", 100 * place + shot)
    return folder


def new_collection(folder: Path, model: CollectionModel | None = None) -> Collection:
    return Collection.create(folder, model or tiny_backbone())


def paths(collection: Collection) -> dict[str, str | None]:
    """The labels of all items by path."""
    return {item.path: item.label for item in collection.photos(limit=1000)}


def clustered(classes: int, shots: int, dim: int = 16, spread: float = 0.35, seed: int = 0):
    """Unit vectors around a random centre for each class, and their classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim)).repeat(shots, axis=0)
    vectors = (
        centres / np.linalg.norm(centres, axis=1, keepdims=True) + spread * rng.normal(size=centres.shape) / dim**0.5
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.arange(classes).repeat(shots)
