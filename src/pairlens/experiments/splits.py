"""The prepared data set of an experiment and its training, validation and test photos; minicars is drawn if missing."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pairlens.core.distributed import barrier, rank
from pairlens.data.annotations import file_of
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.dataset import draw_if_missing
from pairlens.data.split import draw_files
from pairlens.evaluation.evaluate import SeenClasses
from pairlens.experiments.experiment import Experiment

VALIDATION_SHARE = 0.2
# A held-out photo is found by another one of its class, and training photos have to remain.
MIN_PHOTOS_HELD_OUT = 2


@dataclass(frozen=True, eq=False)
class Splits:
    """The photos of a data set by their use.

    Attributes:
        train: photos to train on.
        validation: training photos that are held out to select an epoch; None if none are.
        test: the test photos, which are the queries.
        gallery: the photos in which the queries are searched; None if the test photos are searched among themselves.
    """

    train: Catalog
    validation: Catalog | None
    test: Catalog
    gallery: Catalog | None

    @property
    def seen_classes(self) -> SeenClasses:
        """How many of the classes of the queries are training classes."""
        return seen_classes(self.train, self.test)


def seen_classes(train: Catalog, test: Catalog) -> SeenClasses:
    """Return how many of the classes of some photos are training classes."""
    # By name, because the labels of a view may have been numbered again.
    seen = _class_names(test) & _class_names(train)
    if not seen:
        return "none"
    return "all" if seen == _class_names(test) else "some"


def _class_names(catalog: Catalog) -> set[str]:
    return {catalog.class_names[label] for label in catalog.labels.unique().tolist()}


def open_catalog(experiment: Experiment, draw: bool = False) -> Catalog:
    """Open the prepared data set of an experiment.

    Args:
        experiment: its settings.
        draw: whether minicars is drawn first if it is missing. False for everything that reads stored settings: these
            may name any folder, and nothing is written where a file says.

    Raises:
        FileNotFoundError: if the data set is not prepared; the sentence names the command that prepares it.
        ValueError: if the file is damaged, or if the crop is "cropped" for a data set without bounding boxes.
    """
    data = experiment.data
    if data.source and not data.holds_features:
        raise ValueError(
            f"the photos of a collection are prepared by pairlens train --data_name {data.name} --source {data.source}; "
            "leave out --source to use those that it has prepared"
        )
    if data.crop == "cropped" and data.name in ("sop", "isc", "minicars", "folder"):
        raise ValueError(
            f"--crop_type cropped needs bounding boxes, which {data.name} does not have (car, cub, coco and tables "
            "with x_1 to y_2 do); use --crop_type uncropped"
        )
    if data.name == "minicars" and draw:
        # Rank 0 draws; the other ranks open the file when it is complete.
        if rank() == 0:
            draw_if_missing(data.file)
        barrier()
    try:
        return Catalog.open(data.file)
    except FileNotFoundError as error:
        if data.holds_features:
            raise
        raise FileNotFoundError(f"{error}; or give the folder that contains {data.name} as --data_path") from error


def open_splits(experiment: Experiment, draw: bool = False) -> Splits:
    """Open the prepared data set of an experiment and split it; see `open_catalog` and `split_catalog`."""
    return split_catalog(open_catalog(experiment, draw), experiment)


def split_catalog(catalog: Catalog, experiment: Experiment) -> Splits:
    """Return the splits of a data set; with `select="validation"` a fifth of the training classes is held out.

    With `folds` the experiment trains and tests on training classes, and the test photos of the data set are not used.

    What is held out, for validation or as a fold, resembles the test: whole classes if no test class is a training class;
    otherwise photos, of every class that has enough of them.

    Raises:
        ValueError: if a split has no photos, or if there are too few training classes (or photos of each class) for `folds`
            or `select`.
    """
    # Labels are numbered with the training classes first, so those of `train` are 0 to train.classes - 1.
    train = catalog.select("train")
    if not len(train):
        raise ValueError(f"{catalog.file} has no training photos; prepare a data set with a train split")
    by_photos = seen_classes(train, catalog.select("test", "query")) != "none"
    evaluation = experiment.evaluation
    # Tuning searches settings on the folds, so the test photos must not be seen there.
    if evaluation.folds:
        hold_out = _fold_of_photos if by_photos else _fold_of_classes
        rest, fold = hold_out(train, evaluation.folds, evaluation.fold)
        return Splits(rest, None, fold, None)
    test, gallery = _test_photos(catalog)
    _check_found(test, gallery)
    if evaluation.select != "validation":
        return Splits(train, None, test, gallery)
    rest, validation = (_validation_photos if by_photos else _validation_classes)(train, experiment.run.seed)
    return Splits(rest, validation, test, gallery)


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


def _check_found(test: Catalog, gallery: Catalog | None) -> None:
    """Raise ValueError if no query has another photo of its class; otherwise the first evaluation would notice it."""
    several = len(test) > test.classes
    found = several if gallery is None else bool(torch.isin(test.labels, gallery.labels).any())
    if not found:
        raise ValueError(
            f"{test.file} has no query with another test photo of its class, so nothing can be found; prepare a data set "
            "with two test photos of a class"
        )


def _fold_of_classes(train: Catalog, folds: int, fold: int) -> tuple[Catalog, Catalog]:
    return _without(train, fold_classes(train.classes, folds, fold))


def _without(train: Catalog, classes: list[int]) -> tuple[Catalog, Catalog]:
    """Return the photos of the other classes, and those of these classes."""
    return train.keep_classes(sorted(set(range(train.classes)) - set(classes))), train.keep_classes(classes)


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


def _validation_classes(train: Catalog, seed: int) -> tuple[Catalog, Catalog]:
    classes = train.classes
    # Two classes must remain, because one class alone has no negative pairs.
    count = max(1, round(classes * VALIDATION_SHARE))
    if classes - count < 2:
        raise ValueError(
            f"{classes} training classes are too few to hold some of them out; use --select last, or prepare more classes"
        )
    return _without(train, sorted(np.random.default_rng((seed, classes)).permutation(classes)[:count].tolist()))


def _validation_photos(train: Catalog, seed: int) -> tuple[Catalog, Catalog]:
    """Hold out a fifth of the photos of each class, at least two; classes of fewer than four photos are left whole."""
    files = _files_of_classes(train)
    sizes = {name: len(paths) for name, paths in files.items()}
    counts = {
        name: max(MIN_PHOTOS_HELD_OUT, round(size * VALIDATION_SHARE)) if size >= 2 * MIN_PHOTOS_HELD_OUT else 0
        for name, size in sizes.items()
    }
    if not any(counts.values()):
        raise ValueError(
            f"no training class has {2 * MIN_PHOTOS_HELD_OUT} photos, of which two could be held out; use --select last"
        )
    return _without_files(train, draw_files(files, counts, seed))


def _fold_of_photos(train: Catalog, folds: int, fold: int) -> tuple[Catalog, Catalog]:
    """Hold out one fold of the photos of each class; a class is left whole if its folds would have fewer than two photos."""
    files = _files_of_classes(train)
    counts = {
        name: len(paths) // folds if len(paths) >= MIN_PHOTOS_HELD_OUT * folds else 0 for name, paths in files.items()
    }
    if not any(counts.values()):
        raise ValueError(
            f"no training class has {MIN_PHOTOS_HELD_OUT * folds} photos, which {folds} folds need; use fewer --folds"
        )
    # Each fold is drawn from what the earlier ones have left; the seed is fixed, so the folds are always the same.
    drawn: set[str] = set()
    earlier: set[str] = set()
    for _ in range(fold + 1):
        earlier |= drawn
        drawn = draw_files({name: paths - earlier for name, paths in files.items()}, counts, seed=0)
    return _without_files(train, drawn)


def _files_of_classes(train: Catalog) -> Mapping[str, set[str]]:
    files: defaultdict[str, set[str]] = defaultdict(set)
    for path, label in zip(train.paths, train.labels.tolist(), strict=True):
        files[train.class_names[label]].add(file_of(path))
    return files


def _without_files(train: Catalog, files: set[str]) -> tuple[Catalog, Catalog]:
    """Return the photos of the other files, and those of these files."""
    held_out = torch.tensor([file_of(path) in files for path in train.paths])
    rest = train.keep(~held_out)
    # A class whose files were all drawn for other classes has no training photo left, so labels are numbered again.
    return rest.keep_classes(rest.labels.unique().tolist()), train.keep(held_out)
