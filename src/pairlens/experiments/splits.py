"""The prepared data set of an experiment and its training, validation and test photos; minicars is drawn if missing."""

from dataclasses import dataclass

import numpy as np

from pairlens.core.distributed import barrier, rank
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.dataset import draw_if_missing
from pairlens.experiments.experiment import Experiment

VALIDATION_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Splits:
    """The photos of a data set by their use.

    Attributes:
        train: photos to train on.
        validation: photos of training classes that are held out to select an epoch; None if no class is held out.
        test: the test photos, which are the queries.
        gallery: the photos in which the queries are searched; None if the test photos are searched among themselves.
    """

    train: Catalog
    validation: Catalog | None
    test: Catalog
    gallery: Catalog | None


def open_catalog(experiment: Experiment) -> Catalog:
    """Open the prepared data set of an experiment; minicars is drawn first if it is missing or damaged.

    Raises:
        FileNotFoundError: if the data set is not prepared; the sentence names the command that prepares it.
        ValueError: if the file is damaged, or if the crop is "cropped" for a data set without bounding boxes.
    """
    data = experiment.data
    if data.crop == "cropped" and data.name in ("sop", "isc", "minicars", "folder"):
        raise ValueError(
            f"--crop_type cropped needs bounding boxes, which {data.name} does not have (car, cub and tables "
            "with x_1 to y_2 do); use --crop_type uncropped"
        )
    if data.name == "minicars":
        # Rank 0 draws; the other ranks open the file when it is complete.
        if rank() == 0:
            draw_if_missing(data.file)
        barrier()
    return Catalog.open(data.file)


def open_splits(experiment: Experiment) -> Splits:
    """Open the prepared data set of an experiment and split it; raises the errors of `open_catalog` and `split_catalog`."""
    return split_catalog(open_catalog(experiment), experiment)


def split_catalog(catalog: Catalog, experiment: Experiment) -> Splits:
    """Return the splits of a data set; with `select="validation"` a fifth of the training classes is held out.

    With `folds` the experiment trains and tests on training classes, and the test photos of the data set are not used.

    Raises:
        ValueError: if a split has no photos, or if there are too few training classes for `folds` or `select`.
    """
    # Labels are numbered with the training classes first, so those of `train` are 0 to train.classes - 1.
    train = catalog.select("train")
    if not len(train):
        raise ValueError(f"{catalog.file} has no training photos; prepare a data set with a train split")
    # Tuning searches settings on the folds, so the test classes must not be seen there.
    evaluation = experiment.evaluation
    if evaluation.folds:
        test_classes = fold_classes(train.classes, evaluation.folds, evaluation.fold)
        return Splits(_without(train, test_classes), None, train.keep_classes(test_classes), None)
    test, gallery = _test_photos(catalog)
    if evaluation.select != "validation":
        return Splits(train, None, test, gallery)
    held_out = _held_out_classes(train.classes, experiment.run.seed)
    return Splits(_without(train, held_out), train.keep_classes(held_out), test, gallery)


def _test_photos(catalog: Catalog) -> tuple[Catalog, Catalog | None]:
    """Return the queries, and the gallery if it consists of other photos."""
    if "query" in catalog.splits or "gallery" in catalog.splits:
        if not {"query", "gallery"} <= set(catalog.splits):
            raise ValueError(f"{catalog.file} has query photos or gallery photos, but not both; prepare it with both")
        return catalog.select("query"), catalog.select("gallery")
    test = catalog.select("test")
    if not len(test):
        raise ValueError(f"{catalog.file} has no test photos; prepare a data set with a test split")
    return test, None


def _without(train: Catalog, classes: list[int]) -> Catalog:
    return train.keep_classes(sorted(set(range(train.classes)) - set(classes)))


def fold_classes(classes: int, folds: int, fold: int) -> list[int]:
    """Return the training classes of one fold; the folds depend on the number of classes alone, not on a seed.

    Raises:
        ValueError: if a fold, or the classes outside it, would be fewer than two classes.

    >>> fold_classes(6, 3, 0), fold_classes(6, 3, 1), fold_classes(6, 3, 2)
    ([2, 5], [3, 4], [0, 1])
    """
    if classes < 2 * folds or classes < 4:
        raise ValueError(f"{classes} training classes are too few for {folds} folds of at least 2; use fewer --folds")
    # Every `folds`-th class of a shuffled order, so that the sizes of the folds differ by at most one class.
    return sorted(np.random.default_rng(classes).permutation(classes)[fold::folds].tolist())


def _held_out_classes(classes: int, seed: int) -> list[int]:
    # Two classes must remain, because one class alone has no negative pairs.
    count = max(1, round(classes * VALIDATION_SHARE))
    if classes - count < 2:
        raise ValueError(
            f"{classes} training classes are too few to hold some of them out; use --select last, or prepare more classes"
        )
    return sorted(np.random.default_rng((seed, classes)).permutation(classes)[:count].tolist())
