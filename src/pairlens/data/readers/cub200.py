"""CUB-200-2011 reader: four text files and photos in `images/`; species 1 to 100 are train, 101 to 200 test."""

from pathlib import Path

from pairlens.core.boxes import Box
from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.text_lines import Line, read_lines

# Classes and photos of each split.
PUBLISHED: dict[Split, tuple[int, int]] = {"train": (100, 5864), "test": (100, 5924)}

_LAST_TRAIN_CLASS = 100


def read(root: Path) -> Annotations:
    """List the photos of CUB-200-2011 in the order of their numbers.

    `root` is the folder of the data set or the folder that contains it, as the download unpacks.

    Raises:
        FileNotFoundError: if an annotation file is missing.
        ValueError: if a line is malformed, or an image has no class or box.
    """
    inner = root / "CUB_200_2011"
    folder = inner if (inner / "images.txt").is_file() else root
    # Every file joins by the number at the start of its lines.
    names = {line.integer(0): line.fields[1] for line in read_lines(folder / "classes.txt", fields=2)}
    labels = {line.integer(0): _class(line, names) for line in read_lines(folder / "image_class_labels.txt", fields=2)}
    boxes = {line.integer(0): _box(line) for line in read_lines(folder / "bounding_boxes.txt", fields=5)}
    photos = tuple(_photo(line, names, labels, boxes) for line in read_lines(folder / "images.txt", fields=2))
    return Annotations("cub", folder, photos)


def _class(line: Line, names: dict[int, str]) -> int:
    number = line.integer(1)
    if number not in names:
        raise line.fault(f"class {number} is not in classes.txt")
    return number


def _box(line: Line) -> Box:
    # The file has the left top corner, width and height, as decimals.
    left, top, width, height = (line.pixels(position) for position in range(1, 5))
    return round(left), round(top), round(left + width), round(top + height)


def _photo(line: Line, names: dict[int, str], labels: dict[int, int], boxes: dict[int, Box]) -> Photo:
    image = line.integer(0)
    if image not in labels or image not in boxes:
        raise line.fault(f"image {image} has no line in image_class_labels.txt or in bounding_boxes.txt")
    split = "train" if labels[image] <= _LAST_TRAIN_CLASS else "test"
    return Photo(f"images/{line.fields[1]}", names[labels[image]], split, boxes[image])
