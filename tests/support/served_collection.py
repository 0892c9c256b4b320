"""A tiny collection of real picture files, and the application that serves it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from starlette.testclient import TestClient

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import CollectionModel, backbone_model
from pairlens.serving.app import make_app
from pairlens.serving.settings import ServingSettings

LABELS = ("red", "green", "blue")
HOST = "http://127.0.0.1"


def tiny_model() -> CollectionModel:
    """A backbone without weights that sees 32 pixels."""
    torch.manual_seed(0)
    return backbone_model("resnet10t", image_size=32, weights="none")


def picture(number: int, size: tuple[int, int] = (64, 48), format: str = "JPEG") -> bytes:
    """A picture file whose colour is that of its label, with a pattern of its own."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 90, (6, 8, 3), dtype=np.uint8)
    pixels[..., number % 3] += 150
    contents = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(contents, format)
    return contents.getvalue()


def make_collection(folder: Path, count: int = 9) -> Collection:
    """Make a collection of uploaded pictures with labels and metadata."""
    collection = Collection.create(folder, tiny_model())
    collection.add(
        [picture(number) for number in range(count)],
        labels=[LABELS[number % 3] for number in range(count)],
        metadata=[{"price": number, "sold": number % 2 == 0, "shop": f"shop {number % 2}"} for number in range(count)],
    )
    return collection


@contextmanager
def serving(collection: Collection, folder: Path, **changed) -> Iterator[TestClient]:
    """Yield a client of the application in this process; `changed` are fields of the settings."""
    folder.mkdir(exist_ok=True)
    settings = replace(ServingSettings(str(collection.name), folder=str(folder)), **changed)
    with TestClient(make_app(settings, collection), HOST, raise_server_exceptions=False) as client:
        yield client
