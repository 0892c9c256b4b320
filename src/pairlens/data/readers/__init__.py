"""The readers: each turns one raw data set into a Listing."""

from pathlib import Path
from typing import Literal

from pairlens.data.annotations import Annotations
from pairlens.data.readers import cars196, cub200, image_folder, in_shop, sop, table

DataName = Literal["car", "cub", "sop", "isc", "folder", "csv"]


def read(name: DataName, root: Path) -> Annotations:
    """List the photos of a raw data set.

    Args:
        name: which data set or layout it is.
        root: its folder; for "csv", the table itself.

    Raises:
        FileNotFoundError: if the folder or an annotation file is missing.
        ValueError: if an annotation is malformed.
    """
    match name:
        case "car":
            return cars196.read(root)
        case "cub":
            return cub200.read(root)
        case "sop":
            return sop.read(root)
        case "isc":
            return in_shop.read(root)
        case "folder":
            return image_folder.read(root)
        case "csv":
            return table.read(root)


def found(data_path: Path) -> list[DataName]:
    """Name which of car, cub, sop, isc lie under `data_path`."""
    marks: dict[DataName, tuple[str, ...]] = {
        "car": ("cars_annos.mat",),
        "cub": ("images.txt", "CUB_200_2011/images.txt"),
        "sop": ("Ebay_train.txt",),
        "isc": ("Eval/list_eval_partition.txt",),
    }
    return [name for name, files in marks.items() if any((data_path / name / file).is_file() for file in files)]


def check_counts(listing: Annotations) -> list[str]:
    """Return a sentence for each split whose classes or photos differ from the published counts; none is good."""
    published = {"car": cars196.PUBLISHED, "cub": cub200.PUBLISHED, "sop": sop.PUBLISHED, "isc": in_shop.PUBLISHED}
    sentences = []
    for split, expected in published.get(listing.name, {}).items():
        photos = [photo for photo in listing.photos if photo.split == split]
        counts = len({photo.class_name for photo in photos}), len(photos)
        if counts != expected:
            sentences.append(
                f"{listing.name} has {counts[0]:,} classes and {counts[1]:,} photos in {split} where the published "
                f"split has {expected[0]:,} and {expected[1]:,}; results will not compare with papers."
            )
    return sentences
