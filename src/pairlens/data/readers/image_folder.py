"""Reader of class folders: one folder per class, or `train/` and `test/` with one folder per class in each."""

import os
from collections.abc import Iterator
from pathlib import Path

from pairlens.data.annotations import Annotations, Photo, Split

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".avif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def read(root: Path) -> Annotations:
    """List the photos in class folders: files that end in .jpg, .jpeg, .jfif, .avif, .png, .webp, .bmp, .gif, .tif, .tiff.

    Without `train/` and `test/` the first half of the sorted classes is train, with an odd number of classes the larger
    half. Folders inside a class folder belong to the class. Hidden files and folders, links to folders, links that lead
    out of `root` and files with other suffixes are left out.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has fewer than two class folders with photos.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; use the folder that holds one folder of photos per class")
    given = (root / "train").is_dir() and (root / "test").is_dir()
    if given:
        train = _class_folders(root / "train")
        test = _class_folders(root / "test")
    else:
        classes = [folder for folder in _class_folders(root) if any(_photo_paths(root, folder))]
        middle = (len(classes) + 1) // 2
        train = classes[:middle]
        test = classes[middle:]
    photos = (*_photos(root, train, "train"), *_photos(root, test, "test"))
    if len({photo.class_name for photo in photos}) < 2:
        raise ValueError(f"{root} has fewer than two class folders with photos; put each class into its own folder")
    return Annotations("folder", root, photos, given)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(
        child for child in folder.iterdir() if _is_visible(child.name) and child.is_dir() and not child.is_symlink()
    )


def _photos(root: Path, classes: list[Path], split: Split) -> list[Photo]:
    return [Photo(path, folder.name, split) for folder in classes for path in _photo_paths(root, folder)]


def _photo_paths(root: Path, folder: Path) -> Iterator[str]:
    """Yield the paths of the photos of a class, relative to `root`, in an order that does not depend on the system."""
    resolved_root = root.resolve()
    for parent, folders, files in os.walk(folder):
        # os.walk visits what is left in this list, in its order; it does not follow links to folders.
        folders[:] = sorted(filter(_is_visible, folders))
        for name in sorted(filter(_is_visible, files)):
            file = Path(parent, name)
            # Only links are resolved: that needs a system call for each part of the path.
            leads_out = file.is_symlink() and not file.resolve().is_relative_to(resolved_root)
            if file.suffix.lower() in SUFFIXES and not leads_out:
                yield file.relative_to(root).as_posix()


def _is_visible(name: str) -> bool:
    # Archives made on a Mac have a folder __MACOSX of files that are not photos but have their names.
    return not name.startswith(".") and name != "__MACOSX"
