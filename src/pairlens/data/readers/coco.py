"""COCO reader: a JSON file with `images`, `categories` and `annotations`; one photo per annotated box."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pairlens.core.boxes import Box, ShareBox
from pairlens.core.untrusted import read_json
from pairlens.data.account import Exclusion
from pairlens.data.annotations import SPLITS, Annotations, Photo, Split
from pairlens.data.photo_paths import with_slashes
from pairlens.data.readers.box_units import Corners, boxes_in_one_unit
from pairlens.data.split import halve_classes

# A box may exceed its picture by the rounding of its corners.
TOLERANCE = 1.0
MAX_ID = 1 << 62


def read(file: Path, images: Path | None = None) -> Annotations:
    """List the boxes of a COCO file. The category is the class; the key of a box is the path and the annotation's id.

    `file_name` is relative to the folder of the photos. An image may have the key `split` (train, test, query or gallery);
    if none has it, the first half of the categories, sorted by name, is for training. Annotations of crowds and images
    without annotations are left out. If all boxes lie within 0 to 1, they are shares of width and height.

    Args:
        file: the JSON file.
        images: the folder of the photos; by default `images` beside the file, or the folder of the file.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if the file is not JSON, or an annotation is malformed, refers to an unknown image or category, or has a
            box outside its image; the sentence names the annotation's id.
    """
    contents = _load(file)
    folder = _folder(file, images)
    pictures = dict(_numbered(file, contents, "images", partial(_picture, folder)))
    names = dict(_numbered(file, contents, "categories", _category))
    if len(set(names.values())) < len(names):
        raise ValueError(f"{file} has two categories of the same name; rename one of them")
    crowds: list[int] = []
    kept: list[tuple[int, Mapping[str, Any]]] = []
    for number, entry in _entries(file, contents, "annotations"):
        # A crowd is many objects in one box, of which none can be compared.
        if entry.get("iscrowd"):
            crowds.append(number)
            continue
        kept.append((number, entry))
    # Box formats other than COCO's own write shares of width and height; rounded to pixels they would be one pixel each.
    units = boxes_in_one_unit([(f"{file}: annotation {number}", _corners(entry)) for number, entry in kept])
    photos = [
        _photo(file, number, entry, pictures, names, unit if isinstance(unit, ShareBox) else None)
        for (number, entry), unit in zip(kept, units, strict=True)
    ]
    _check_splits(file, pictures)
    given = any(picture.split for picture in pictures.values())
    classes = sorted({photo.class_name for photo in photos})
    left_out = (*map(_crowd, crowds), *_without_box(pictures, photos))
    listed = tuple(photos) if given else halve_classes(photos, classes)
    return Annotations("coco", folder, listed, given, left_out=left_out)


def _folder(file: Path, images: Path | None) -> Path:
    beside = file.parent / "images"
    folder = images or (beside if beside.is_dir() else file.parent)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder of the photos as --images")
    return folder


def _load(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; give the JSON file of the annotations as --source")
    try:
        contents = read_json(file)
    # UnicodeDecodeError is a ValueError too.
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as JSON ({error}); export the annotations again") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{file} is not a COCO file: it must be an object with images, categories and annotations")
    return contents


@dataclass(frozen=True)
class _Picture:
    """An entry of `images`; a size that is not given is infinite."""

    path: str
    width: float
    height: float
    split: Split | None


def _entries(file: Path, contents: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the id and the object of each entry of a list, and refuse an id that occurs twice."""
    entries = contents.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"{file} is not a COCO file: it has no list {key!r}")
    numbers: set[int] = set()
    for position, entry in enumerate(entries, start=1):
        number = entry.get("id") if isinstance(entry, dict) else None
        if type(number) is not int or not 0 <= number <= MAX_ID:
            raise ValueError(f"{file}: entry {position} of {key} has no id, a whole number; add it")
        if number in numbers:
            raise ValueError(f"{file}: the id {number} occurs twice in {key}; give each entry its own")
        numbers.add(number)
        yield number, entry


def _numbered(
    file: Path, contents: Mapping[str, Any], key: str, parse: Callable[[Mapping[str, Any]], Any]
) -> Iterator[tuple[int, Any]]:
    """Yield the id of each entry of a list with what `parse` makes of the entry."""
    for number, entry in _entries(file, contents, key):
        try:
            parsed = parse(entry)
        except ValueError as error:
            raise ValueError(f"{file}: entry {number} of {key}: {error}; correct it") from error
        yield number, parsed


def _picture(folder: Path, entry: Mapping[str, Any]) -> _Picture:
    path = entry.get("file_name")
    split = entry.get("split")
    if not isinstance(path, str) or not path:
        raise ValueError("it has no file_name")
    if split is not None and split not in SPLITS:
        raise ValueError(f"the split {str(split)[:80]!r} is not one of {', '.join(SPLITS)}")
    return _Picture(with_slashes(path, folder), _side(entry, "width"), _side(entry, "height"), split)


def _side(entry: Mapping[str, Any], name: str) -> float:
    side = entry.get(name, math.inf)
    if isinstance(side, bool) or not isinstance(side, int | float) or not side > 0:
        raise ValueError(f"its {name} is not a number of pixels")
    return float(side)


def _category(entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("it has no name")
    return unicodedata.normalize("NFC", name)


def _photo(
    file: Path,
    number: int,
    entry: Mapping[str, Any],
    pictures: Mapping[int, _Picture],
    names: Mapping[int, str],
    shares: ShareBox | None,
) -> Photo:
    for key, known in (("image_id", pictures), ("category_id", names)):
        # Only whole numbers can be looked up: a list in this place is not hashable.
        if type(entry.get(key)) is not int or entry[key] not in known:
            raise ValueError(
                f"{file}: annotation {number} has an unknown {key}, {str(entry.get(key))[:80]}; correct it"
            )
    picture = pictures[entry["image_id"]]
    try:
        box = shares or _box(_corners(entry), picture)
    except ValueError as error:
        raise ValueError(f"{file}: annotation {number}: {error}; correct it") from error
    return Photo(picture.path, names[entry["category_id"]], picture.split or "train", box, number)


def _corners(entry: Mapping[str, Any]) -> Corners | None:
    """Return (x_1, y_1, x_2, y_2) of a COCO box (left, top, width, height); None if it is not four numbers."""
    corners: Any = entry.get("bbox")
    is_numbers = isinstance(corners, list) and all(type(value) in (int, float) for value in corners)
    if not is_numbers or len(corners) != 4 or not all(abs(value) < MAX_ID for value in corners):
        return None
    left, top, width, height = corners
    return left, top, left + width, top + height


def _box(corners: Corners | None, picture: _Picture) -> Box:
    """Return a box rounded to pixels."""
    if corners is None:
        raise ValueError("its bbox is not four numbers: left, top, width and height in pixels")
    left, top, right, bottom = corners
    is_outside = min(left, top) < -TOLERANCE or right > picture.width + TOLERANCE or bottom > picture.height + TOLERANCE
    if is_outside:
        raise ValueError(f"the box {corners} is not inside its image of {picture.width:g} × {picture.height:g} pixels")
    box = (max(0, round(left)), max(0, round(top)), round(right), round(bottom))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"the box {corners} has no pixel")
    return box


def _check_splits(file: Path, pictures: Mapping[int, _Picture]) -> None:
    without = next((picture.path for picture in pictures.values() if picture.split is None), None)
    if without is not None and any(picture.split for picture in pictures.values()):
        raise ValueError(f"{file} gives some images a split but not {without!r}; give it to all of them or to none")


def _crowd(number: int) -> Exclusion:
    return Exclusion(f"annotation {number}", "crowd annotation", "such a box holds many objects")


def _without_box(pictures: Mapping[int, _Picture], photos: Iterable[Photo]) -> Iterator[Exclusion]:
    annotated = {photo.path for photo in photos}
    for picture in pictures.values():
        if picture.path not in annotated:
            yield Exclusion(picture.path, "image without annotation", "no object in it is annotated")
