"""Annotations of a raw data set: photos with their classes, splits and bounding boxes."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pairlens.core.boxes import Box, ShareBox
from pairlens.core.untrusted import escapes_folder, is_plain_text
from pairlens.data.account import Exclusion, because

Split = Literal["train", "test", "query", "gallery"]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Photo:
    """One annotated photo of a raw data set, or one box of a photo that has several.

    `path` is relative to the folder of the data set, with forward slashes. `box` is (x_1, y_1, x_2, y_2) in pixels from the
    top left corner; x_2 and y_2 are exclusive; or shares of width and height. `instance` is the number of the box where a
    file has several. Names of classes are in NFC, so that "é" is one letter, however it was typed.

    >>> Photo("001.Albatross/a.jpg", "001.Albatross", "train", box=(60, 27, 385, 331)).key
    '001.Albatross/a.jpg'
    >>> Photo("a.jpg", "cup", "test", box=(0, 0, 9, 9), instance=2).key
    'a.jpg#2'
    """

    path: str
    class_name: str
    split: Split
    box: Box | ShareBox | None = None
    instance: int | None = None

    def __post_init__(self) -> None:
        # Here and not in the readers, so that no reader can forget it. A frozen dataclass sets a field this way.
        object.__setattr__(self, "class_name", unicodedata.normalize("NFC", self.class_name))

    @property
    def key(self) -> str:
        """The name of the photo in a catalog: its path in NFC, with the number of the box where a file has several."""
        path = unicodedata.normalize("NFC", self.path)
        return path if self.instance is None else f"{path}#{self.instance}"


@dataclass(frozen=True)
class Annotations:
    """The photos of a raw data set, sorted by split (train, test, query, gallery), within a split in the reader's order.

    Attributes:
        name: the reader.
        root: the folder that the paths are relative to.
        photos: the photos.
        given: whether the data set itself says which photos are for training; otherwise the reader has put half of the
            classes on each side.
        notes: sentences about how the reader has understood the data set.
        left_out: what the reader has found and left out, each with its reason.

    Raises:
        ValueError: if there is no photo, a photo or one of its boxes is listed twice, a path leads out of the folder, or a
            name has a control character.
    """

    name: str
    root: Path
    photos: tuple[Photo, ...]
    given: bool = True
    notes: tuple[str, ...] = ()
    left_out: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        # The sort is stable, so the reader's order is kept within a split. A frozen dataclass sets a field this way.
        object.__setattr__(self, "photos", tuple(sorted(self.photos, key=lambda photo: SPLITS.index(photo.split))))
        if not self.photos:
            raise ValueError(
                f"{self.root} lists no photos that can be read{because(self.left_out)}; check that it is the folder of the "
                f"raw {self.name} data set"
            )
        _check_paths(self)
        _check_repeated(self)
        _check_names(self)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of every path, class, split, box and instance."""
        # As JSON, so that no two different lists give the same text.
        return hashlib.sha256(json.dumps([_digest_row(photo) for photo in self.photos]).encode()).hexdigest()


def _digest_row(photo: Photo) -> list[object]:
    box = photo.box
    corners = ["share", box.left, box.top, box.right, box.bottom] if isinstance(box, ShareBox) else box
    row: list[object] = [photo.path, photo.class_name, photo.split, corners]
    # Left out where there is none: data sets that an earlier version prepared keep their digest.
    return row if photo.instance is None else [*row, photo.instance]


def file_of(key: str) -> str:
    """Return the path of the file that the key of a photo names, without the number of a box.

    >>> file_of("a.jpg#2"), file_of("a.jpg")
    ('a.jpg', 'a.jpg')
    """
    return re.sub(r"#\d+$", "", key)


def number_boxes(photos: Iterable[Photo]) -> tuple[Photo, ...]:
    """Return the photos with the boxes of a file numbered from 1, if the file is listed several times.

    >>> [photo.key for photo in number_boxes([Photo("a", "x", "train"), Photo("b", "x", "train"), Photo("a", "y", "train")])]
    ['a#1', 'b', 'a#2']
    """
    listed = tuple(photos)
    times = Counter(photo.path for photo in listed)
    numbers: Counter[str] = Counter()
    numbered = []
    for photo in listed:
        numbers[photo.path] += 1
        several = times[photo.path] > 1
        numbered.append(replace(photo, instance=numbers[photo.path]) if several else photo)
    return tuple(numbered)


def _check_paths(annotations: Annotations) -> None:
    for path in {photo.path for photo in annotations.photos}:
        # The annotations may come from anyone; a path such as ../../etc/passwd must not be read.
        if escapes_folder(path):
            raise ValueError(
                f"{annotations.name} lists the photo {path!r}, which is not inside {annotations.root}; correct the path"
            )


def _check_repeated(annotations: Annotations) -> None:
    # One file may hold several objects, but one box of it is one photo.
    for (path, box), times in Counter((photo.path, photo.box) for photo in annotations.photos).items():
        if times > 1:
            what = "the photo" if box is None else f"the box {box} of the photo"
            raise ValueError(
                f"{annotations.name} lists {what} {path!r} {times} times; list it once, or with boxes that differ"
            )
    # A file may have the name of a numbered box of another file, such as "a.jpg#2".
    key, times = Counter(photo.key for photo in annotations.photos).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{annotations.name} has {times} photos with the key {key!r}; rename a file")


def _check_names(annotations: Annotations) -> None:
    # Names are printed, and a control character in them would be executed by the terminal.
    for photo in annotations.photos:
        for text in (photo.path, photo.class_name):
            if not is_plain_text(text):
                raise ValueError(
                    f"{annotations.name} lists {text!r}, which has a control character or is not UTF-8; rename it"
                )
