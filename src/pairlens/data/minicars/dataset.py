"""The minicars data set: every model photographed a number of times, written as a prepared data set."""

from collections.abc import Iterator
from pathlib import Path

from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.minicars.car_models import CLASSES, class_name
from pairlens.data.minicars.render import SHOTS, photograph

MINICARS_SIZE = 108


def draw_if_missing(file: Path) -> None:
    """Draw the embedded data set into a prepared file, unless it is there and whole."""
    try:
        Catalog.open(file)
    except (FileNotFoundError, ValueError):
        draw_minicars(file)


def draw_minicars(file: Path) -> Catalog:
    """Draw the embedded data set into a prepared file."""
    return write_catalog(file, "minicars", _minicars(), MINICARS_SIZE)


def _minicars() -> Iterator[tuple[Photo, bytes]]:
    for model in range(CLASSES):
        name = class_name(model)
        for shot in range(SHOTS):
            path = f"{name.replace(' ', '_')}/{shot:02d}.jpg"
            photo = Photo(path, name, "train" if model < CLASSES // 2 else "test")
            yield photo, photograph(model, shot, MINICARS_SIZE)
