"""The minicars data set: 96 car models with 20 photographs each, written as a prepared data set."""

import os
from collections.abc import Iterator
from pathlib import Path

from pairlens.core.records import from_plain
from pairlens.core.untrusted import read_json
from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog, Description
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.minicars.car_models import CLASSES, class_name
from pairlens.data.minicars.render import SHOTS, photograph

NAME = "minicars"
MINICARS_SIZE = 108


def draw_if_missing(file: Path) -> None:
    """Draw the data set into a prepared file if nothing is there, or only a damaged drawing.

    Another data set that is called minicars too is never replaced, also if it is damaged.
    """
    try:
        Catalog.open(file)
    except (FileNotFoundError, ValueError):
        if _may_be_drawn(file):
            draw_minicars(file)


def _may_be_drawn(file: Path) -> bool:
    json_file = file.with_suffix(".json")
    # A link that leads nowhere is somebody's, too.
    if not (os.path.lexists(file) or os.path.lexists(json_file)):
        return True
    try:
        description = from_plain(Description, read_json(json_file), str(json_file))
    except (OSError, ValueError):
        return False
    # What `prepare` writes says which reader its photos are from.
    return description.name == NAME and description.origin.reader == NAME


def draw_minicars(file: Path) -> Catalog:
    """Draw the data set into a prepared file."""
    return write_catalog(file, NAME, _minicars(), MINICARS_SIZE)


def _minicars() -> Iterator[tuple[Photo, bytes]]:
    for model in range(CLASSES):
        name = class_name(model)
        # The first half of the models is train. Both halves have the same body types, see `model_of`.
        split = "train" if model < CLASSES // 2 else "test"
        for shot in range(SHOTS):
            path = f"{name.replace(' ', '_')}/{shot:02d}.jpg"
            yield Photo(path, name, split), photograph(model, shot, MINICARS_SIZE)
