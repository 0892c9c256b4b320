"""The prepared data set of an experiment, and what its photos are for; minicars draws itself."""

from dataclasses import dataclass

import numpy as np

from pairlens.core.distributed import barrier, rank
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.dataset import draw_if_missing
from pairlens.experiments.experiment import Experiment

VALIDATION_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Splits:
    """The photos of a data set by what they are for."""

    train: Catalog
    validation: Catalog | None
    test: Catalog
    gallery: Catalog | None


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
            draw_if_missing(file)
        barrier()
    return Catalog.open(file)


def split_catalog(catalog: Catalog, experiment: Experiment) -> Splits:
    """Return the parts of a data set; with `select="validation"` a fifth of the training classes is held out.

    With `folds` both parts are of training classes, and what is set aside for testing is not touched.
    """
    train_part, validation = catalog.select("train"), None
    if not len(train_part):
        raise ValueError(f"{catalog.file} has no training photos; prepare a data set with a train split")
    if experiment.folds:
        chosen = fold_classes(train_part.classes, experiment.folds, experiment.fold)
        others = sorted(set(range(train_part.classes)) - set(chosen))
        return Splits(train_part.keep_classes(others), None, train_part.keep_classes(chosen), None)
    if experiment.select == "validation":
        held_out = _held_out(train_part.classes, experiment.seed)
        validation = train_part.keep_classes(held_out)
        train_part = train_part.keep_classes(sorted(set(range(train_part.classes)) - set(held_out)))
    if "query" in catalog.splits or "gallery" in catalog.splits:
        if not {"query", "gallery"} <= set(catalog.splits):
            raise ValueError(f"{catalog.file} has query photos or gallery photos, but not both; prepare it with both")
        return Splits(train_part, validation, catalog.select("query"), catalog.select("gallery"))
    test = catalog.select("test")
    if not len(test):
        raise ValueError(f"{catalog.file} has no test photos; prepare a data set with a test split")
    return Splits(train_part, validation, test, None)


def fold_classes(classes: int, folds: int, fold: int) -> list[int]:
    """Return the training classes of one fold: dealt in an order that depends on their number alone, not on a seed.

    Raises:
        ValueError: if a fold, or what is left beside it, would have fewer than two classes.

    >>> fold_classes(6, 3, 0), fold_classes(6, 3, 1), fold_classes(6, 3, 2)
    ([2, 5], [3, 4], [0, 1])
    """
    if classes < 2 * folds or classes < 4:
        raise ValueError(f"{classes} training classes are too few for {folds} folds of at least 2; use fewer --folds")
    return sorted(np.random.default_rng(classes).permutation(classes)[fold::folds].tolist())


def _held_out(classes: int, seed: int) -> list[int]:
    count = max(1, round(classes * VALIDATION_SHARE))
    if classes - count < 2:
        raise ValueError(f"{classes} training classes are too few to hold some out; use --select last")
    return sorted(np.random.default_rng((seed, classes)).permutation(classes)[:count].tolist())
