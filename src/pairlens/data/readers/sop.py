"""Stanford Online Products reader: `Ebay_train.txt` and `Ebay_test.txt` beside twelve folders of photos."""

from pathlib import Path

from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.text_lines import Line, read_lines

# Classes and photos of each split.
PUBLISHED: dict[Split, tuple[int, int]] = {"train": (11318, 59551), "test": (11316, 60502)}


def read(root: Path) -> Annotations:
    """List the photos of Stanford Online Products; a class is one product, named by its number.

    Raises:
        FileNotFoundError: if one of the two lists is missing.
        ValueError: if a line is malformed.
    """
    # The first line of each list is a heading: image_id class_id super_class_id path.
    photos = [
        *(_photo(line, "train") for line in read_lines(root / "Ebay_train.txt", fields=4, skip=1)),
        *(_photo(line, "test") for line in read_lines(root / "Ebay_test.txt", fields=4, skip=1)),
    ]
    # By number and not by name: "10" comes after "9".
    return Annotations("sop", root, tuple(sorted(photos, key=lambda photo: int(photo.class_name))))


def _photo(line: Line, split: Split) -> Photo:
    return Photo(line.fields[3], str(line.integer(1)), split)
