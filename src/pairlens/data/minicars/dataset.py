"""The minicars data set: 96 car models with 20 photographs each, written as a prepared data set."""

from collections.abc import Iterator
from pathlib import Path

from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.minicars.car_models import CLASSES, class_name
from pairlens.data.minicars.render import SHOTS, photograph

MINICARS_SIZE = 108


def draw_if_missing(file: Path) -> None:
    """Draw the data set into a prepared file, unless the file exists and is intact."""
    try:
        Catalog.open(file)
    except (FileNotFoundError, ValueError):
        draw_minicars(file)


def draw_minicars(file: Path) -> Catalog:
    """Draw the data set into a prepared file."""
    return write_catalog(file, "minicars", _minicars(), MINICARS_SIZE)


def _minicars() -> Iterator[tuple[Photo, bytes]]:
    for model in range(CLASSES):
        name = class_name(model)
        # The first half of the models is train. Both halves have the same body types, see `model_of`.
        split = "train" if model < CLASSES // 2 else "test"
        for shot in range(SHOTS):
            path = f"{name.replace(' ', '_')}/{shot:02d}.jpg"
            yield Photo(path, name, split), photograph(model, shot, MINICARS_SIZE)
