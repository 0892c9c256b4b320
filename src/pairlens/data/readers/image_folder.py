"""Reader of class folders: the class of a photo is the folder that holds it, below `train/` and `test/` if they exist."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pairlens.data.account import Exclusion, because
from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.folder_walk import walk_folder
from pairlens.data.readers.split_folders import check_no_split_inside, role_of, split_folders
from pairlens.data.split import halve_classes

_CLASSES_NAMED = 3


def read(root: Path, class_depth: int | None = None, follow_links: bool = False) -> Annotations:
    """List the photos in class folders: all files whose suffix is one of a format that is read, in any capitals.

    The class is the path of the folder that holds the photo, below the folder of its split. Folders train and test, or train
    and val, or train, query and gallery, in any capitals, are splits. Without them the first half of the sorted classes is
    for training, with an odd number of classes the larger half.

    Args:
        root: the folder of the data set.
        class_depth: the number of folders, counted from the split, that make the class; by default all of them.
        follow_links: whether links that lead out of `root` are followed.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folders do not make a split, or hold fewer than two classes.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; use the folder that holds one folder of photos per class")
    contents = walk_folder(root, follow_links)
    tops = sorted({path.parts[0] for path in contents.photos if len(path.parts) > 1})
    photos_inside = {path.parts[0] for path in contents.photos if len(path.parts) == 2}
    splits = split_folders(root, tops, photos_inside, depth_is_given=class_depth is not None)
    placed = [_place(path, splits, class_depth) for path in contents.photos]
    members = [place for place in placed if isinstance(place, _Member)]
    left_out = (*contents.left_out, *(place for place in placed if isinstance(place, Exclusion)))
    check_no_split_inside(root, {member.folders for member in members})
    photos = _photos(members, is_given=bool(splits))
    if len({photo.class_name for photo in photos}) < 2:
        raise ValueError(
            f"{root} has fewer than two class folders with photos{because(left_out)}; put each class into its own folder"
        )
    notes = (_class_rule(photos, class_depth),)
    return Annotations("folder", root, photos, bool(splits), notes, left_out)


@dataclass(frozen=True)
class _Member:
    """A photo of a class; `folders` are those that make the class, from the outermost, in NFC."""

    path: Path
    folders: tuple[str, ...]
    split: Split


def _place(path: Path, splits: dict[str, Split], class_depth: int | None) -> _Member | Exclusion:
    top = path.parts[0]
    if splits and top not in splits:
        validation = len(path.parts) > 1 and role_of(top) == "validation"
        kind = f"photo in {top}" if validation else "photo beside the split folders"
        why = "training holds out classes of train for validation" if validation else "it belongs to no split"
        return Exclusion(path.as_posix(), kind, why)
    folders = tuple(unicodedata.normalize("NFC", name) for name in path.parts[bool(splits) : -1])
    if not folders:
        return Exclusion(path.as_posix(), "photo outside class folders", "it lies in no folder of a class")
    if class_depth is not None and len(folders) < class_depth:
        reason = f"it lies in {len(folders)} folders, but --class_depth is {class_depth}"
        return Exclusion(path.as_posix(), "photo above the class folders", reason)
    # A split that is not given is decided by `halve_classes`.
    return _Member(path, folders[:class_depth], splits.get(top, "train"))


def _photos(members: Iterable[_Member], is_given: bool) -> tuple[Photo, ...]:
    # Sorted folder by folder and not by the joined name: "a/b" comes before "a-b", as in a listing of folders.
    by_class = sorted(members, key=lambda member: member.folders)
    photos = [Photo(member.path.as_posix(), "/".join(member.folders), member.split) for member in by_class]
    # The names in the order of their first photo.
    classes = list(dict.fromkeys(photo.class_name for photo in photos))
    return tuple(photos) if is_given else halve_classes(photos, classes)


def _class_rule(photos: Iterable[Photo], class_depth: int | None) -> str:
    """Return a sentence that names the rule for the classes, and the first of them."""
    classes = sorted({photo.class_name for photo in photos})
    levels = "the folder that holds a photo" if class_depth is None else f"level {class_depth} of the folders"
    named = ", ".join(classes[:_CLASSES_NAMED]) + (", ..." if len(classes) > _CLASSES_NAMED else "")
    known = set(classes)
    inside = next((name for name in classes if name.rpartition("/")[0] in known), None)
    nested = f" {inside} lies in a folder that is a class, too." if inside else ""
    return f"a class is {levels}: {named} ({len(classes):,} classes).{nested} --class_depth N chooses another level."
