"""Readers of raw data sets: each returns the `Annotations` of one layout."""

from pathlib import Path
from typing import Any, Literal, get_args

from pairlens.data.annotations import Annotations
from pairlens.data.readers import cars196, coco, cub200, image_folder, in_shop, installed, sop, table

DataName = Literal["car", "cub", "sop", "isc", "folder", "csv", "coco"]


def reader_names() -> tuple[str, ...]:
    """Return the names of all readers: those of Pairlens, then those of installed packages."""
    own = get_args(DataName)
    return (*own, *(name for name in installed.installed_names() if name not in own))


def read(name: str, root: Path, images: Path | None = None, options: Any = None) -> Annotations:
    """List the photos of a raw data set.

    Args:
        name: which data set or layout it is, or the name of an installed reader.
        root: its folder; for "csv" and "coco", the table and the JSON file.
        images: the folder of the photos of "coco".
        options: the `Preparation`, for an installed reader.

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
            return image_folder.read(
                root, getattr(options, "class_depth", None), getattr(options, "follow_links", False)
            )
        case "csv":
            return table.read(root)
        case "coco":
            return coco.read(root, images)
        case _:
            return installed.read(name, root, options)


def raw_data_sets(data_path: Path) -> list[DataName]:
    """Return which of the raw data sets car, cub, sop and isc are under `data_path`, judged by their annotation files."""
    # CUB-200-2011 is used with and without the folder that its archive unpacks into.
    annotation_files: dict[DataName, tuple[str, ...]] = {
        "car": ("cars_annos.mat",),
        "cub": ("images.txt", "CUB_200_2011/images.txt"),
        "sop": ("Ebay_train.txt",),
        "isc": ("Eval/list_eval_partition.txt",),
    }
    return [
        name for name, files in annotation_files.items() if any((data_path / name / file).is_file() for file in files)
    ]


def check_counts(annotations: Annotations) -> list[str]:
    """Return a sentence for each split whose numbers of classes or photos differ from the published ones."""
    published = {"car": cars196.PUBLISHED, "cub": cub200.PUBLISHED, "sop": sop.PUBLISHED, "isc": in_shop.PUBLISHED}
    sentences = []
    # Folders and tables have no published counts.
    for split, expected in published.get(annotations.name, {}).items():
        photos = [photo for photo in annotations.photos if photo.split == split]
        counts = len({photo.class_name for photo in photos}), len(photos)
        if counts != expected:
            sentences.append(
                f"{annotations.name} has {counts[0]:,} classes and {counts[1]:,} photos in {split}, but the published "
                f"split has {expected[0]:,} and {expected[1]:,}; results cannot be compared with those of papers."
            )
    return sentences
