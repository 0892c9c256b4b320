"""Where listed photos are on the disk: other spellings of their names, and links that lead out of the data folder."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from pairlens.data.account import Exclusion
from pairlens.data.annotations import Annotations, Photo

LINK_REASON = "leads out of the data folder; use --follow_links to read it"


class LinkRule:
    """Which paths below a data folder may be read: links inside it may, links to outside only if they are followed.

    Args:
        root: the data folder, which may be a link itself.
        follow: whether links to outside are followed.
    """

    def __init__(self, root: Path, follow: bool) -> None:
        self._root = root.resolve()
        self._follow = follow
        # A folder holds many photos; resolving it needs a system call for each part of its path.
        self._folder_leads_out = cache(lambda folder: not folder.resolve().is_relative_to(self._root))

    def leads_out(self, path: Path) -> bool:
        """Return whether a path below the root leads out of it and must not be read."""
        if self._follow:
            return False
        if self._folder_leads_out(path.parent):
            return True
        return path.is_symlink() and not path.resolve().is_relative_to(self._root)


def locate_photos(annotations: Annotations, follow_links: bool) -> Annotations:
    """Return the annotations with every path spelled as on the disk, without photos behind links to outside.

    Raises:
        ValueError: if two listed photos are the same file, or no photo is left.
    """
    rule = LinkRule(annotations.root, follow_links)
    names = cache(names_by_nfc)
    photos: list[Photo] = []
    linked: list[Exclusion] = []
    for photo in annotations.photos:
        path = photo.path if photo.path.isascii() else spelled_as_on_disk(annotations.root, photo.path, names)
        if rule.leads_out(annotations.root / path):
            linked.append(Exclusion(photo.key, "linked photo", LINK_REASON))
        else:
            photos.append(photo if path == photo.path else replace(photo, path=path))
    if photos == list(annotations.photos):
        return annotations
    return replace(annotations, photos=tuple(photos), left_out=(*annotations.left_out, *linked))


def spelled_as_on_disk(root: Path, path: str, names: Callable[[Path], dict[str, str]]) -> str:
    """Return a path whose letters with accents are composed, or not, as the disk has them; itself if there is no file."""
    if os.path.lexists(root / path):
        return path
    spelled = root
    for name in path.split("/"):
        found = names(spelled).get(unicodedata.normalize("NFC", name))
        if found is None:
            return path
        spelled /= found
    return spelled.relative_to(root).as_posix()


def names_by_nfc(folder: Path) -> dict[str, str]:
    """Return the names in a folder by their composed form; nothing if it is not a folder."""
    try:
        return {unicodedata.normalize("NFC", entry.name): entry.name for entry in folder.iterdir()}
    except OSError:
        return {}


def with_slashes(path: str, folder: Path) -> str:
    r"""Return a path from a list with slashes for backslashes, as programs on Windows write them.

    On other systems a backslash may be part of a name: if there is such a file, the path is not changed.

    >>> with_slashes("cats\\1.jpg", Path())
    'cats/1.jpg'
    """
    return path.replace("\\", "/") if "\\" in path and not os.path.lexists(folder / path) else path
