"""In-Shop Clothes reader: `Eval/list_eval_partition.txt` and photos in `Img/img/`; query and gallery share items."""

from pathlib import Path

from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.text_lines import Line, read_lines

# Classes and photos of each split.
PUBLISHED: dict[Split, tuple[int, int]] = {"train": (3997, 25882), "query": (3985, 14218), "gallery": (3985, 12612)}


def read(root: Path) -> Annotations:
    """List the photos of In-Shop Clothes; a class is one item.

    The key of a photo is its whole path, because file names such as 01_1_front.jpg occur in many items.

    Raises:
        FileNotFoundError: if the list is missing.
        ValueError: if a line is malformed, or its status is not train, query or gallery.
    """
    # The file starts with the number of photos and a heading.
    lines = read_lines(root / "Eval" / "list_eval_partition.txt", fields=3, skip=2)
    # The paths of the list start with img/.
    photos = (Photo(f"Img/{line.fields[0]}", line.fields[1], _split(line)) for line in lines)
    return Annotations("isc", root, tuple(sorted(photos, key=lambda photo: photo.class_name)))


def _split(line: Line) -> Split:
    match line.fields[2]:
        case "train" | "query" | "gallery" as split:
            return split
        case other:
            raise line.fault(f"the status {other!r} is not train, query or gallery")
