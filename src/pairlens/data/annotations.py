"""Annotations of a raw data set: photos with their classes, splits and bounding boxes."""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pairlens.core.boxes import Box
from pairlens.core.untrusted import escapes_folder, is_plain_text

Split = Literal["train", "test", "query", "gallery"]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Photo:
    """One annotated photo of a raw data set.

    `path` is relative to the folder of the data set, with forward slashes, and is the key of the photo. `box` is
    (x_1, y_1, x_2, y_2) in pixels from the top left corner; x_2 and y_2 are exclusive.

    >>> Photo("001.Albatross/a.jpg", "001.Albatross", "train", box=(60, 27, 385, 331)).split
    'train'
    """

    path: str
    class_name: str
    split: Split
    box: Box | None = None


@dataclass(frozen=True)
class Annotations:
    """The photos of a raw data set, sorted by split (train, test, query, gallery), within a split in the reader's order.

    Raises:
        ValueError: if there is no photo, a path occurs twice or leads out of the folder, a name has a control
            character, or a class has photos both in train and in another split.
    """

    name: str
    root: Path
    photos: tuple[Photo, ...]

    def __post_init__(self) -> None:
        # The sort is stable, so the reader's order is kept within a split. A frozen dataclass sets a field this way.
        object.__setattr__(self, "photos", tuple(sorted(self.photos, key=lambda photo: SPLITS.index(photo.split))))
        if not self.photos:
            raise ValueError(
                f"{self.root} lists no photos; check that it is the folder of the raw {self.name} data set"
            )
        _check_paths(self)
        _check_names(self)
        _check_disjoint_classes(self)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of every path, class, split and box."""
        # As JSON, so that no two different lists give the same text.
        return hashlib.sha256(json.dumps([dataclasses.astuple(photo) for photo in self.photos]).encode()).hexdigest()


def _check_paths(annotations: Annotations) -> None:
    name = annotations.name
    for path, times in Counter(photo.path for photo in annotations.photos).items():
        # The annotations may come from anyone; a path such as ../../etc/passwd must not be read.
        if escapes_folder(path):
            raise ValueError(
                f"{name} lists the photo {path!r}, which is not inside {annotations.root}; correct the path"
            )
        if times > 1:
            raise ValueError(f"{name} lists the photo {path!r} {times} times; list it once, because paths are keys")


def _check_names(annotations: Annotations) -> None:
    # Names are printed, and a control character in them would be executed by the terminal.
    for photo in annotations.photos:
        for text in (photo.path, photo.class_name):
            if not is_plain_text(text):
                raise ValueError(
                    f"{annotations.name} lists {text!r}, which has a control character or is not UTF-8; rename it"
                )


def _check_disjoint_classes(annotations: Annotations) -> None:
    # With training classes in the test set the metrics would measure classification, not retrieval of new classes.
    train = {photo.class_name for photo in annotations.photos if photo.split == "train"}
    others = {photo.class_name for photo in annotations.photos if photo.split != "train"}
    shared = sorted(train & others)
    if shared:
        raise ValueError(
            f"{annotations.name} has {len(shared)} classes both in train and in another split, such as {shared[0]!r}; "
            "retrieval is evaluated on classes without training photos, so keep each class on one side"
        )
