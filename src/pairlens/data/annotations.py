"""What a reader finds in a raw data set: its photos with their classes, splits and boxes."""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pairlens.core.untrusted import escapes_folder, is_plain_text

Split = Literal["train", "test", "query", "gallery"]
Box = tuple[int, int, int, int]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Photo:
    """One photo of a raw data set as its reader found it.

    `path` is relative to the raw root, with forward slashes, and is the photo's key. `box` is (x_1, y_1, x_2, y_2) in
    pixels from the top left corner; its right and bottom edges are exclusive.

    >>> Photo("001.Albatross/a.jpg", "001.Albatross", "train", box=(60, 27, 385, 331)).split
    'train'
    """

    path: str
    class_name: str
    split: Split
    box: Box | None = None


@dataclass(frozen=True)
class Annotations:
    """The photos of a raw data set, sorted into train, test, query, gallery and otherwise in the reader's order.

    Raises:
        ValueError: if there is no photo, a path occurs twice or leaves the root, a name has a control character, or a
            class is trained and tested on.
    """

    name: str
    root: Path
    photos: tuple[Photo, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "photos", tuple(sorted(self.photos, key=lambda photo: SPLITS.index(photo.split))))
        if not self.photos:
            raise ValueError(
                f"{self.root} lists no photos; check that it is the folder of the raw {self.name} data set"
            )
        _refuse_paths(self)
        _refuse_shared_classes(self)

    @cached_property
    def digest(self) -> str:
        """A hash of every path, class, split and box."""
        return hashlib.sha256(json.dumps([dataclasses.astuple(photo) for photo in self.photos]).encode()).hexdigest()


def _refuse_paths(listing: Annotations) -> None:
    for path, times in Counter(photo.path for photo in listing.photos).items():
        if escapes_folder(path):
            raise ValueError(f"{listing.name} lists the photo {path!r}, which is not inside {listing.root}; correct it")
        if times > 1:
            raise ValueError(f"{listing.name} lists the photo {path!r} {times} times; keep one, since paths are keys")
    texts = [text for photo in listing.photos for text in (photo.path, photo.class_name)]
    strange = next((text for text in texts if not is_plain_text(text)), None)
    if strange is not None:
        raise ValueError(
            f"{listing.name} lists {strange!r}, which has a control character or is not UTF-8; name it otherwise"
        )


def _refuse_shared_classes(listing: Annotations) -> None:
    trained = {photo.class_name for photo in listing.photos if photo.split == "train"}
    shared = sorted({photo.class_name for photo in listing.photos if photo.split != "train"} & trained)
    if shared:
        raise ValueError(
            f"{listing.name} has {len(shared)} classes both in train and outside it, such as {shared[0]!r}; retrieval "
            "is judged on classes never trained on, so keep each class on one side"
        )
