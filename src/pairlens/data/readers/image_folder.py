"""Photos of one's own: one folder a class, or `train/` and `test/` with one folder a class in each."""

import os
from collections.abc import Iterator
from pathlib import Path

from pairlens.data.annotations import Annotations, Photo, Split

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".avif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def read(root: Path) -> Annotations:
    """List the pictures in class folders; without `train/` and `test/` the first half of the sorted classes trains.

    Folders inside a class folder belong to the class. Hidden files and folders, links to folders, and links that
    lead out of `root` are left out; an odd class in the middle trains.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has fewer than two class folders with pictures, or a class is in both train and test.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; name the folder that holds one folder of photos a class")
    if (root / "train").is_dir() and (root / "test").is_dir():
        photos = (*_photos(root, _classes(root / "train"), "train"), *_photos(root, _classes(root / "test"), "test"))
    else:
        classes = [folder for folder in _classes(root) if any(_pictures(root, folder))]
        middle = (len(classes) + 1) // 2
        photos = (*_photos(root, classes[:middle], "train"), *_photos(root, classes[middle:], "test"))
    if len({photo.class_name for photo in photos}) < 2:
        raise ValueError(f"{root} has fewer than two class folders with pictures; put each class into its own folder")
    return Annotations("folder", root, photos)


def _classes(folder: Path) -> list[Path]:
    return sorted(
        child for child in folder.iterdir() if _visible(child.name) and child.is_dir() and not child.is_symlink()
    )


def _photos(root: Path, classes: list[Path], split: Split) -> list[Photo]:
    return [Photo(path, folder.name, split) for folder in classes for path in _pictures(root, folder)]


def _pictures(root: Path, folder: Path) -> Iterator[str]:
    inside = root.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(filter(_visible, folders))
        for name in sorted(filter(_visible, files)):
            file = Path(parent, name)
            leads_out = file.is_symlink() and not file.resolve().is_relative_to(inside)
            if file.suffix.lower() in SUFFIXES and not leads_out:
                yield file.relative_to(root).as_posix()


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
