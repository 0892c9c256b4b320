"""The prepared data set of an experiment; minicars draws itself."""

from collections.abc import Iterator
from pathlib import Path

from pairlens.core.distributed import rank, wait_for_all
from pairlens.data.catalog import Catalog, write_catalog
from pairlens.data.listing import Photo
from pairlens.data.minicars import CLASSES, SHOTS, class_name, photograph
from pairlens.experiments.experiment import Experiment

MINICARS_SIZE = 108


def open_catalog(experiment: Experiment) -> Catalog:
    """Open the prepared data set of an experiment; minicars is drawn if it is not there or damaged.

    Raises:
        FileNotFoundError: naming the command that prepares it.
        ValueError: if the file is damaged, or `cropped` was asked of a data set without boxes.
    """
    file = experiment.data_path / experiment.data_name / f"{experiment.crop_type}.arrow"
    if experiment.crop_type == "cropped" and experiment.data_name in ("sop", "isc", "minicars", "folder"):
        raise ValueError(
            f"--crop_type cropped needs bounding boxes, which {experiment.data_name} does not have (car, cub and tables "
            "with x_1 to y_2 do); use --crop_type uncropped"
        )
    if experiment.data_name == "minicars":
        if rank() == 0:
            _draw_if_missing(file)
        wait_for_all()
    return Catalog.open(file)


def _draw_if_missing(file: Path) -> None:
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
