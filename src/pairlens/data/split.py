"""Division of a raw data set into training and test photos: by classes, by photos, or as the data set gives it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pairlens.data.annotations import Annotations, Photo

SplitRule = Literal["classes", "photos", "given"]


def divide(annotations: Annotations, rule: SplitRule, seed: int = 0) -> Annotations:
    """Return the annotations with their photos divided into training and test photos.

    - classes: no test class has a training photo. The split of the data set is used if it has one; otherwise the first
      half of its classes is for training.
    - photos: half of the photos of each class, rounded down, are test photos; every other split is dropped. All boxes of a
      file are on the same side.
    - given: the split of the data set, in which a class may have training and test photos.

    Args:
        annotations: the photos.
        rule: one of these three.
        seed: chooses the photos of "photos".

    Raises:
        ValueError: if the data set does not fit the rule.
    """
    match rule:
        case "classes":
            _check_unseen_classes(annotations)
            return annotations
        case "photos":
            return _by_photos(annotations, seed)
        case "given":
            if not annotations.given:
                raise ValueError(
                    f"{annotations.root} does not say which photos are for training, so --split given is not possible; "
                    "use --split classes or --split photos"
                )
            return annotations


def halve_classes(photos: Iterable[Photo], classes: Sequence[str]) -> tuple[Photo, ...]:
    """Return the photos with the first half of the classes for training; the middle one of an odd number as well.

    >>> [p.split for p in halve_classes([Photo("1", "b", "test"), Photo("2", "a", "test")], ["a", "b"])]
    ['test', 'train']
    """
    train = set(classes[: (len(classes) + 1) // 2])
    return tuple(replace(photo, split="train" if photo.class_name in train else "test") for photo in photos)


def _check_unseen_classes(annotations: Annotations) -> None:
    if not annotations.given and len({photo.class_name for photo in annotations.photos}) < 2:
        raise ValueError(
            f"{annotations.name} lists one class only, {annotations.photos[0].class_name!r}; list two or more"
        )
    # Figures on training classes say nothing about new classes, so they are not given by mistake.
    train = {photo.class_name for photo in annotations.photos if photo.split == "train"}
    others = {photo.class_name for photo in annotations.photos if photo.split != "train"}
    shared = sorted(train & others)
    if shared:
        raise ValueError(
            f"{annotations.name} has {len(shared)} classes both in train and in another split, such as {shared[0]!r}; keep "
            "each class on one side to test on unseen classes, or use --split given to test on classes seen in training"
        )


def _by_photos(annotations: Annotations, seed: int) -> Annotations:
    files: defaultdict[str, set[str]] = defaultdict(set)
    for photo in annotations.photos:
        files[photo.class_name].add(photo.path)
    test = draw_files(files, {name: len(paths) // 2 for name, paths in files.items()}, seed)
    photos = tuple(
        replace(photo, split="test" if photo.path in test else "train")
        # Sorted by class, so that the labels do not depend on which photos are drawn.
        for photo in sorted(annotations.photos, key=lambda photo: photo.class_name)
    )
    counts: defaultdict[str, int] = defaultdict(int)
    for photo in photos:
        counts[photo.class_name] += photo.split == "test"
    if max(counts.values()) < 2:
        raise ValueError(
            f"{annotations.name} has no class with two test photos, so no test photo could be found by another one; "
            "--split photos needs classes of four photos or more"
        )
    return replace(annotations, photos=photos, given=False)


def draw_files(files: Mapping[str, set[str]], counts: Mapping[str, int], seed: int) -> set[str]:
    """Return the paths of some photos of each class, so that a file with objects of several classes is drawn as a whole.

    Args:
        files: the paths of the photos of each class.
        counts: how many photos of a class are drawn; more, if they are drawn for other classes.
        seed: shuffles the photos.
    """
    drawn: set[str] = set()
    passed_over: set[str] = set()
    for name in sorted(files):
        # A file with objects of several classes keeps the side that its first class has given it.
        undecided = sorted(files[name] - drawn - passed_over, key=lambda path: _shuffled(path, seed))
        missing = max(0, counts[name] - len(files[name] & drawn))
        drawn.update(undecided[:missing])
        passed_over.update(undecided[missing:])
    return drawn


def _shuffled(path: str, seed: int) -> bytes:
    # A hash depends on this path alone, so new photos leave most of the others on their sides.
    return hashlib.sha256(f"{seed} {path}".encode()).digest()
