"""Reader of records: photos that a Python program lists, each with path, label, and optionally split and box."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pairlens.core.boxes import ShareBox
from pairlens.data.annotations import SPLITS, Annotations, Photo, Split, number_boxes
from pairlens.data.photo_paths import with_slashes
from pairlens.data.readers.box_units import Corners, boxes_in_one_unit
from pairlens.data.split import halve_classes

Record: TypeAlias = Photo | Mapping[str, Any]

_KEYS = ("path", "label", "split", "box")
_MAX_PIXELS = 1 << 62


def read(records: Iterable[Record], root: Path | None = None, name: str = "records") -> Annotations:
    """List the photos of records.

    A record is a mapping with the keys path, label, split (train, test, query or gallery) and box, the
    last two optional; or a `Photo`. If no record has a split, the first half of the labels, sorted, is for training. A box
    is (x_1, y_1, x_2, y_2) in pixels; if all boxes lie within 0 to 1, in shares of width and height.

    Args:
        records: the photos; a file may occur several times with different boxes.
        root: the folder that the paths are relative to; by default the current folder, or the folder that contains all
            photos if one of them lies outside the current folder.
        name: what the reader is called in messages.

    Raises:
        ValueError: naming the number of the record, counted from 1, that is malformed.
    """
    rows = [(number, _mapping(number, record)) for number, record in enumerate(records, start=1)]
    if not rows:
        raise ValueError(f"{name} lists no photos; give at least one")
    with_split = [number for number, row in rows if row.get("split") is not None]
    if with_split and len(with_split) < len(rows):
        raise ValueError(f"record {with_split[0]} has a split but others have none; give it to all of them or to none")
    paths = [_absolute(number, row, root) for number, row in rows]
    folder = _folder(paths, root)
    boxes = boxes_in_one_unit([(f"record {number}", _corners(number, row)) for number, row in rows])
    photos = number_boxes(
        Photo(_relative(number, path, folder), _label(number, row), _split(number, row), box)
        for (number, row), path, box in zip(rows, paths, boxes, strict=True)
    )
    if not with_split:
        photos = halve_classes(photos, sorted({photo.class_name for photo in photos}))
    by_class = sorted(photos, key=lambda photo: photo.class_name)
    return Annotations(name, folder, tuple(by_class), given=bool(with_split))


def _mapping(number: int, record: Record) -> Mapping[str, Any]:
    if isinstance(record, Photo):
        return {"path": record.path, "label": record.class_name, "split": record.split, "box": record.box}
    if not isinstance(record, Mapping):
        raise ValueError(
            f"record {number} is a {type(record).__name__}; use a mapping with the keys {', '.join(_KEYS)}"
        )
    unknown = [key for key in record if key not in _KEYS]
    missing = [key for key in ("path", "label") if key not in record]
    if unknown or missing:
        fault = f"has the unknown key {unknown[0]!r}" if unknown else f"has no {missing[0]!r}"
        raise ValueError(f"record {number} {fault}; the keys are {', '.join(_KEYS)}")
    return record


def _absolute(number: int, row: Mapping[str, Any], root: Path | None) -> Path:
    path = row["path"]
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise ValueError(f"record {number}: the path {path!r} is not a path; correct it")
    # normpath removes "." and ".." without reading the disk; an absolute path replaces the folder.
    folder = (root or Path()).absolute()
    return Path(os.path.normpath(folder / with_slashes(os.fspath(path), folder)))


def _folder(paths: list[Path], root: Path | None) -> Path:
    folder = (root or Path()).absolute()
    if root is not None or all(path.is_relative_to(folder) for path in paths):
        return folder
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    # On Windows, paths on two drives have no common folder.
    except ValueError as error:
        raise ValueError("the photos of the records have no common folder; put them on one drive") from error


def _relative(number: int, path: Path, folder: Path) -> str:
    if not path.is_relative_to(folder) or path == folder:
        raise ValueError(f"record {number}: {path} is not a photo inside {folder}; correct the path or the source")
    return path.relative_to(folder).as_posix()


def _label(number: int, row: Mapping[str, Any]) -> str:
    # Labels of many programs are numbers; a missing label is NaN there.
    label = row["label"]
    text = "" if label is None or label != label else str(label).strip()
    if not text:
        raise ValueError(f"record {number}: the label {label!r} is empty; give a name or a number")
    return text


def _split(number: int, row: Mapping[str, Any]) -> Split:
    match row.get("split"):
        case "train" | "test" | "query" | "gallery" as split:
            return split
        # Replaced by `halve_classes`, because then no record has a split.
        case None:
            return "train"
        case other:
            raise ValueError(f"record {number}: the split {other!r} is not one of {', '.join(SPLITS)}; correct it")


def _corners(number: int, row: Mapping[str, Any]) -> Corners | None:
    box = row.get("box")
    if box is None:
        return None
    if isinstance(box, ShareBox):
        return box.left, box.top, box.right, box.bottom
    try:
        left, top, right, bottom = (float(corner) for corner in box)
    except (TypeError, ValueError) as error:
        raise ValueError(f"record {number}: the box {box!r} is not x_1, y_1, x_2, y_2 in pixels; correct it") from error
    corners = (left, top, right, bottom)
    if not all(math.isfinite(corner) and abs(corner) < _MAX_PIXELS for corner in corners):
        raise ValueError(f"record {number}: the box {box!r} is not x_1, y_1, x_2, y_2 in pixels; correct it")
    return corners
