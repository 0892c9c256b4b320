"""Folders that name a split: `train` beside `test` or `val`, in any capitals."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pairlens.data.annotations import Split

# What the names of folders mean, in lower case.
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "query": "query",
    "gallery": "gallery",
}
_REMEDY = "rename them, or list the photos in a table with a column split"


def role_of(name: str) -> str | None:
    """Return which split a folder's name means: train, validation, test, query or gallery; None for any other name.

    >>> role_of("Training"), role_of("VAL"), role_of("cats")
    ('train', 'validation', None)
    """
    return _ROLES.get(unicodedata.normalize("NFC", name).casefold())


def split_folders(root: Path, names: Iterable[str], photos_inside: set[str], depth_is_given: bool) -> dict[str, Split]:
    """Return the split of each folder that names one; empty if the folders of a data set are its classes.

    The folder train is for training, and test, or else val, is for testing; query and gallery go together.

    Args:
        root: the folder of the data set, for messages.
        names: its folders with photos.
        photos_inside: those of them that hold photos themselves, and not only in folders.
        depth_is_given: whether the user has said which folders are the classes; one such name alone is then a class.

    Raises:
        ValueError: if the names do not make a split, such as train without a folder to test on.
    """
    roles = {name: role for name in names if (role := role_of(name)) is not None}
    if not roles:
        return {}
    if len(roles) == 1:
        (name,) = roles
        # A single folder may be a class of that name, such as railway trains, if the photos lie in it.
        if name in photos_inside or depth_is_given:
            return {}
        raise ValueError(f"{root} has the folder {name!r} but none to go with it; {_needed()}")
    twice = [role for role, times in Counter(roles.values()).items() if times > 1]
    if twice:
        same = [name for name in roles if roles[name] == twice[0]]
        raise ValueError(
            f"{root} has the folders {' and '.join(map(repr, same))}, which mean the same; keep one of them"
        )
    return _assign(root, roles)


def _assign(root: Path, roles: dict[str, str]) -> dict[str, Split]:
    present = set(roles.values())
    splits: dict[str, Split]
    match present - {"train", "validation"}:
        case tests if "train" not in present:
            raise ValueError(f"{root} has folders for {', '.join(sorted(present))} but none for train; {_needed()}")
        case tests if tests == {"test"}:
            splits = {"train": "train", "test": "test"}
        case tests if tests == {"query", "gallery"}:
            splits = {"train": "train", "query": "query", "gallery": "gallery"}
        case tests if not tests:
            splits = {"train": "train", "validation": "test"}
        case tests:
            raise ValueError(f"{root} has folders for {', '.join(sorted(present))}; {_needed()}")
    return {name: splits[role] for name, role in roles.items() if role in splits}


def _needed() -> str:
    return f"a split needs train and test (or val), or train, query and gallery; {_REMEDY}"


def check_no_split_inside(root: Path, classes: Iterable[tuple[str, ...]]) -> None:
    """Raise ValueError if the folders of classes name splits, such as `cat/train` beside `cat/test`.

    Args:
        root: the folder of the data set, for messages.
        classes: the folders of each class, from the outermost.
    """
    seen: dict[tuple[str, ...], dict[str, str]] = {}
    for folders in classes:
        for level, name in enumerate(folders):
            role = role_of(name)
            if role is not None:
                seen.setdefault(folders[:level], {})[role] = name
    for parent, roles in seen.items():
        if len(roles) > 1:
            where = root.joinpath(*parent)
            names = " and ".join(sorted(roles.values()))
            raise ValueError(
                f"{where} has the folders {names}, which would become classes; give as --source the folder that holds train "
                "and test, or choose the level of the classes with --class_depth"
            )
