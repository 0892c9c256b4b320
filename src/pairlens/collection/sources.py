"""What is to be indexed: the photos of folders, files and tables, with their labels, metadata and boxes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias
from unicodedata import normalize

from pairlens.collection.item import Value
from pairlens.collection.source_table import SourceTable, TableRow, read_source_table
from pairlens.core.boxes import Box, ShareBox
from pairlens.core.image_formats import photo_suffixes, unread_suffix_reason
from pairlens.core.untrusted import is_plain_text, regular_file
from pairlens.data.account import Exclusion
from pairlens.data.photo_paths import LINK_REASON, LinkRule, names_by_nfc, spelled_as_on_disk, with_slashes
from pairlens.data.readers.folder_walk import UNOPENED, walk_folder

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# The label of a row without one in a table of labels: its folder is not its label.
UNKNOWN = ""
# Where labels come from: the folders that hold the photos, nowhere, or a table.
Labels: TypeAlias = Literal["auto", "folders", "none"] | Path


@dataclass(frozen=True)
class PhotoSource:
    """One photo, or one box of it, that is to be in the collection.

    Attributes:
        root: the absolute folder that the path is relative to.
        path: with forward slashes, as the disk spells it.
        box: the part that is embedded; None for the whole photo.
        label: its class; None if unknown.
        metadata: further values.
    """

    root: str
    path: str
    box: Box | ShareBox | None = None
    label: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The file on the disk."""
        return Path(self.root, self.path)

    @property
    def name(self) -> str:
        """The path as a collection stores it, in NFC."""
        return normalize("NFC", self.path)


@dataclass(frozen=True)
class Sources:
    """What was found.

    Attributes:
        photos: what is to be read, in the order in which it was found.
        left_out: what is left out by rule, each with its reason.
        folders: the (root, path of the folder below it) pairs that were searched as a whole, for which a photo that is not
            among `photos` is gone.
        unopened: such pairs of folders that could not be searched, below which nothing counts as gone.
        labels_from: one sentence that says where the labels come from.
    """

    photos: tuple[PhotoSource, ...]
    left_out: tuple[Exclusion, ...]
    folders: tuple[tuple[str, str], ...]
    labels_from: str
    unopened: tuple[tuple[str, str], ...] = ()


def find_sources(
    places: Sequence[str | Path],
    *,
    labels: Labels = "auto",
    metadata: Path | None = None,
    follow_links: bool = False,
    known_roots: Iterable[str] = (),
) -> Sources:
    """Return the photos of folders, files and tables.

    A folder is searched with everything below it. A table (.csv, .tsv, .parquet) lists photos in its column path, which is
    relative to the folder of the table, with optional columns label and x_1, y_1, x_2, y_2; its other columns are metadata.

    Args:
        places: folders, picture files and tables.
        labels: "folders" takes the folder that holds a photo, "auto" does so if there are at least two such folders, "none"
            takes none; or a table with the columns path and label. Labels of a table of photos come before all of these.
        metadata: a table whose column path names the photos; its other columns are stored with them. As in a table of
            labels, a path is relative to the folder of the table, to a folder that is indexed or to one above that.
        follow_links: whether links that lead out of a folder are followed.
        known_roots: roots of the collection; a photo below one of them belongs to it, so that `photos/cats` and `photos`
            name the same photos.

    Raises:
        FileNotFoundError: if a place does not exist.
        ValueError: if a place is no photo, no table and no folder, or a table is malformed.
    """
    if not places:
        raise ValueError("nothing to index; give folders, picture files or tables")
    found = [_at_place(Path(place), follow_links) for place in places]
    left_out = [entry for part in found for entry in part.left_out]
    photos = _distinct([photo for part in found for photo in part.photos], left_out)
    photos, labels_from = _labelled(photos, labels)
    photos = [replace(photo, label=None) if photo.label == UNKNOWN else photo for photo in photos]
    if metadata is not None:
        photos = _with_metadata(photos, metadata)
    roots = {PurePosixPath(root): root for root in sorted(known_roots, key=len, reverse=True) if root}
    return Sources(
        tuple(_rerooted(photo, roots) for photo in photos),
        tuple(left_out),
        tuple(below for part in found for folder in part.folders for below in _folders_below(*folder, roots)),
        labels_from,
        tuple(below for part in found for folder in part.unopened for below in _folders_below(*folder, roots)),
    )


def _distinct(photos: Sequence[PhotoSource], left_out: list[Exclusion]) -> list[PhotoSource]:
    """Return each part of each photo once, with the label and the metadata of all places that name it."""
    found: dict[tuple[str, Box | ShareBox | None], PhotoSource] = {}
    for photo in photos:
        key = normalize("NFC", photo.file.as_posix()), photo.box
        known = found.get(key)
        if known is not None and known.file != photo.file:
            reason = "another file has this name but for the encoding of its accents; rename one of them"
            left_out.append(Exclusion(photo.path, "photo with an ambiguous name", reason))
            continue
        found[key] = photo if known is None else _merged(known, photo)
    return list(found.values())


def _merged(first: PhotoSource, second: PhotoSource) -> PhotoSource:
    # The outer of two folders, because it shows the folders that labels come from.
    outer = min(first, second, key=lambda photo: len(photo.root))
    given = first.label or second.label
    label = given if given or UNKNOWN not in (first.label, second.label) else UNKNOWN
    return replace(outer, label=label, metadata={**second.metadata, **first.metadata})


def _at_place(place: Path, follow_links: bool) -> Sources:
    if place.is_dir():
        return _of_folder(place, follow_links)
    regular_file(place)
    if place.suffix.lower() in TABLE_SUFFIXES:
        return _of_table(read_source_table(place), follow_links)
    if place.suffix.lower() not in photo_suffixes():
        raise ValueError(f"{place} is no photo: {unread_suffix_reason(place.suffix.lower())}")
    # The user has named the file, so a link is followed; its folder is that of the name.
    file = place.absolute()
    _check_name(file.name)
    return Sources((PhotoSource(_root_of(file.parent), file.name),), (), (), "")


def _root_of(folder: Path) -> str:
    """Return the real path of a folder, as items hold it."""
    root = folder.resolve().as_posix()
    _check_name(root)
    return root


def _of_folder(folder: Path, follow_links: bool) -> Sources:
    root = _root_of(folder)
    contents = walk_folder(folder, follow_links)
    photos, unnamed = [], []
    for path in contents.photos:
        if is_plain_text(str(path)):
            photos.append(PhotoSource(root, path.as_posix()))
        else:
            reason = "its name has control characters or is not UTF-8; rename it"
            unnamed.append(Exclusion(path.as_posix(), "photo with an unprintable name", reason))
    # The folder itself is "." in the account.
    unopened = tuple((root, entry.path.removeprefix(".")) for entry in contents.left_out if entry.kind == UNOPENED)
    return Sources(tuple(photos), (*contents.left_out, *unnamed), ((root, ""),), "", unopened)


def _of_table(table: SourceTable, follow_links: bool) -> Sources:
    root = Path(_root_of(table.file.parent))
    rule = LinkRule(root, follow_links)
    names = cache(names_by_nfc)
    has_labels = any(row.label is not None for row in table.rows)
    photos, left_out = [], []
    for row in table.rows:
        path = _path_in_table(row, root, table)
        path = path if path.isascii() else spelled_as_on_disk(root, path, names)
        if rule.leads_out(root / path):
            left_out.append(Exclusion(path, "linked photo", LINK_REASON))
        else:
            label = row.label if row.label is not None or not has_labels else UNKNOWN
            photos.append(PhotoSource(root.as_posix(), path, row.box, label, row.metadata))
    return Sources(tuple(photos), tuple(left_out), (), "")


def _path_in_table(row: TableRow, root: Path, table: SourceTable) -> str:
    path = Path(os.path.normpath(root / with_slashes(row.path, root)))
    if not path.is_relative_to(root) or path == root:
        raise ValueError(
            f"{table.file}, row {row.number}: the path {row.path!r} does not lead to a photo inside the table's folder; "
            "correct the row"
        )
    return path.relative_to(root).as_posix()


def _check_name(name: str) -> None:
    if not is_plain_text(name):
        raise ValueError(f"{name!r} has control characters or is not UTF-8; rename it")


def _labelled(photos: list[PhotoSource], labels: Labels) -> tuple[list[PhotoSource], str]:
    """Return the photos with labels, and a sentence about where they come from."""
    if isinstance(labels, Path):
        return _with_labels(photos, labels)
    if labels == "none":
        return photos, "no labels are taken"
    if photos and all(photo.label is not None for photo in photos):
        return photos, "labels come from the table"
    named = {folder for photo in photos if photo.label != UNKNOWN and (folder := _folder_of(photo))}
    if labels == "auto" and len(named) < 2:
        if any(photo.label for photo in photos):
            return photos, "labels come from the table"
        return photos, "no labels: the photos lie in no folders of classes"
    labelled = [
        photo if photo.label is not None else replace(photo, label=_folder_of(photo) or None) for photo in photos
    ]
    shown = ", ".join(sorted(named)[:3]) + (", ..." if len(named) > 3 else "")
    return labelled, f"the label of a photo is the folder that holds it: {shown} ({len(named):,} labels)"


def _folder_of(photo: PhotoSource) -> str:
    folder = PurePosixPath(photo.name).parent.as_posix()
    return "" if folder == "." else folder


def _rows_by_path(file: Path) -> dict[str, TableRow]:
    table = read_source_table(file)
    rows: dict[str, TableRow] = {}
    for row in table.rows:
        key = normalize("NFC", row.path.replace("\\", "/").removeprefix("./"))
        if key in rows:
            raise ValueError(f"{table.file}, row {row.number}: the path {row.path!r} is listed twice; list it once")
        rows[key] = row
    return rows


def _rows_of(photos: Sequence[PhotoSource], file: Path) -> list[TableRow | None]:
    """Return the row of each photo in a table; raises ValueError if no photo has one."""
    rows = _rows_by_path(file)
    folder = file.parent.resolve().as_posix()
    found = [_row_of(photo, rows, folder) for photo in photos]
    if photos and not any(found):
        raise ValueError(
            f"{file} describes none of the {len(photos):,} photos; its column path must hold paths such as {photos[0].path}"
        )
    return found


def _row_of(photo: PhotoSource, rows: Mapping[str, TableRow], folder: str) -> TableRow | None:
    full = normalize("NFC", photo.file.as_posix())
    root = PurePosixPath(photo.root)
    # Folders between the root and the photo are no beginnings: two photos of one name would get the same row.
    for beginning in (folder, root, *root.parents):
        name = str(beginning).rstrip("/") + "/"
        if full.startswith(normalize("NFC", name)) and (row := rows.get(full[len(normalize("NFC", name)) :])):
            return row
    return rows.get(full)


def _with_labels(photos: list[PhotoSource], file: Path) -> tuple[list[PhotoSource], str]:
    rows = _rows_of(photos, file)
    labels = [None if row is None else row.label for row in rows]
    if photos and not any(labels):
        raise ValueError(f"{file} has no label of any photo; it needs a column 'label'")
    labelled = [
        photo if label is None else replace(photo, label=label) for photo, label in zip(photos, labels, strict=True)
    ]
    without = sum(label is None for label in labels)
    rest = f"; it has none for {without:,} photos" if without else ""
    return labelled, f"labels come from {file}{rest}"


def _with_metadata(photos: list[PhotoSource], file: Path) -> list[PhotoSource]:
    return [
        photo if row is None else replace(photo, metadata={**photo.metadata, **row.metadata})
        for photo, row in zip(photos, _rows_of(photos, file), strict=True)
    ]


def _rerooted(photo: PhotoSource, roots: Mapping[PurePosixPath, str]) -> PhotoSource:
    root, path = _rerooted_path(photo.root, photo.path, roots)
    return replace(photo, root=root, path=path)


def _rerooted_path(root: str, path: str, roots: Mapping[PurePosixPath, str]) -> tuple[str, str]:
    """Return the root of the collection that contains the path, the longest one, and the path below it.

    The longest one, because a photo keeps its root when a folder above that is indexed later.
    """
    full = PurePosixPath(root, path)
    # The nearest folder first. Each is looked up, because there are as many roots as folders if photos are given one by one.
    for folder in full.parents:
        if folder in roots:
            return roots[folder], full.relative_to(folder).as_posix()
    return root, path


def _folders_below(root: str, path: str, roots: Mapping[PurePosixPath, str]) -> list[tuple[str, str]]:
    """Return a folder by the root of the collection that contains it, and the roots that lie inside the folder."""
    full = PurePosixPath(root, path)
    inside = [(known, "") for folder, known in roots.items() if folder.is_relative_to(full)]
    own_root, own_path = _rerooted_path(root, path, roots)
    return [(own_root, normalize("NFC", own_path)), *inside]
