"""Walk through a folder of photos: every entry is a photo or an exclusion, nothing is passed over in silence."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.image_formats import photo_suffixes, unread_suffix_reason
from pairlens.data.account import Exclusion
from pairlens.data.photo_paths import LINK_REASON, LinkRule

# Folders that systems, network drives and programs make by themselves, in lower case: previews, waste bins, snapshots.
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "@recycle", "@recently-snapshot", "@__thumb", "@tmp", "@synoresource", "@sharebin"),
        *("#recycle", "#snapshot", "$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("lost+found", "__macosx", "network trash folder", "temporary items", "__pycache__"),
    }
)
UNOPENED = "folder that cannot be opened"
# A folder behind a link may hold links again; without a bound, a few of them could name a photo a million times.
_MAX_LINKS = 2


@dataclass(frozen=True)
class FolderContents:
    """Paths of photos relative to the walked folder, sorted folder by folder, and everything else that lies there."""

    photos: tuple[Path, ...]
    left_out: tuple[Exclusion, ...]


def walk_folder(root: Path, follow_links: bool = False) -> FolderContents:
    """Return the photos below a folder, and what is left out by rule, each with its reason.

    Left out are hidden files and folders, folders of systems (`@eaDir`, `__MACOSX`, `#recycle`, ...), suffixes that are not
    read, links that lead out of the folder unless they are followed, and folders that cannot be opened.

    Args:
        root: the folder.
        follow_links: whether links to outside are followed.
    """
    walk = _Walk(root, LinkRule(root, follow_links))
    walk.run()
    return FolderContents(tuple(walk.photos), tuple(walk.left_out))


def is_system_folder(name: str) -> bool:
    """Return whether a folder is hidden, or made by a system and not by the owner of the photos.

    >>> is_system_folder("@eaDir"), is_system_folder(".Trash-1000"), is_system_folder("cats")
    (True, True, False)
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


@dataclass(frozen=True)
class _Folder:
    """A folder to be walked, the number of links on the way to it, and the system folder that it belongs to."""

    path: Path
    links: int = 0
    system: str = ""


class _Walk:
    """The state of one walk."""

    def __init__(self, root: Path, rule: LinkRule) -> None:
        self.root = root
        self.rule = rule
        self.photos: list[Path] = []
        self.left_out: list[Exclusion] = []

    def run(self) -> None:
        # A list and not recursion: folders may be nested deeper than Python's stack.
        pending = [_Folder(self.root)]
        while pending:
            folder = pending.pop()
            # Reversed, because the last one is taken next.
            pending.extend(reversed(list(self._enter(folder))))

    def _enter(self, folder: _Folder) -> Iterator[_Folder]:
        """Sort the files of a folder into photos and exclusions, and yield the folders in it that are walked next."""
        try:
            with os.scandir(folder.path) as entries:
                sorted_entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._leave_out(folder.path, UNOPENED, str(error.strerror))
            return
        for entry in sorted_entries:
            path = folder.path / entry.name
            if entry.is_symlink() and (reason := self._link_fault(path, folder)):
                self._leave_out(path, "linked folder" if path.is_dir() else "linked file", reason)
            elif path.is_dir() if entry.is_symlink() else entry.is_dir():
                yield self._inner(folder, entry.name, entry.is_symlink())
            else:
                self._sort_file(path, folder.system)

    def _inner(self, folder: _Folder, name: str, is_link: bool) -> _Folder:
        system = folder.system or (name if is_system_folder(name) else "")
        return _Folder(folder.path / name, folder.links + is_link, system)

    def _link_fault(self, path: Path, folder: _Folder) -> str:
        """Return why a link is not followed; empty if it is."""
        if not path.exists():
            return "the link leads to nothing"
        if self.rule.leads_out(path):
            return LINK_REASON
        if not path.is_dir():
            return ""
        if folder.path.resolve().is_relative_to(path.resolve()):
            return "the link leads to a folder that contains it"
        return "it is behind a linked folder behind a linked folder" if folder.links >= _MAX_LINKS else ""

    def _sort_file(self, path: Path, system: str) -> None:
        suffix = path.suffix.lower()
        if system:
            kind = "file in hidden folders" if system.startswith(".") else f"file in {system}"
            self._leave_out(path, kind, f"{system} is a hidden folder or one of a system")
        elif path.name.startswith("."):
            self._leave_out(path, "hidden file", "its name begins with a dot")
        elif suffix not in photo_suffixes():
            kind = f"{suffix} file" if suffix else "file without suffix"
            self._leave_out(path, kind, unread_suffix_reason(suffix))
        elif not stat.S_ISREG(path.stat().st_mode):
            self._leave_out(path, "special file", "a pipe, a socket or a device")
        else:
            self.photos.append(path.relative_to(self.root))

    def _leave_out(self, path: Path, kind: str, reason: str) -> None:
        self.left_out.append(Exclusion(path.relative_to(self.root).as_posix(), kind, reason))
