"""Cars196 reader: `cars_annos.mat` and photos in `car_ims/`; models 1 to 98 are train, 99 to 196 test."""

from pathlib import Path

import numpy as np

from pairlens.core.untrusted import regular_file
from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.mat_checks import check_mat_file

# Classes and photos of each split.
PUBLISHED: dict[Split, tuple[int, int]] = {"train": (98, 8054), "test": (98, 8131)}

_LAST_TRAIN_CLASS = 98
_FIELDS: list[str] = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class"]


def read(root: Path) -> Annotations:
    """List the photos of Cars196, sorted by class number.

    Raises:
        FileNotFoundError: if `cars_annos.mat` is missing.
        ValueError: if it is not the published annotation file.
    """
    file = root / "cars_annos.mat"
    rows, class_names = _load(file)
    try:
        photos = tuple(_photo(row, class_names) for row in sorted(rows, key=lambda row: int(row["class"])))
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{file} has a malformed row ({error}); restore it from the download") from error
    return Annotations("car", root, photos)


def _load(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the structured rows of the annotation file, and the class names."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; put cars_annos.mat of Cars196 there, beside the folder car_ims")
    try:
        check_mat_file(file)
        # Imported here, because only this reader needs scipy.
        from scipy.io import loadmat

        contents = loadmat(regular_file(file), squeeze_me=True, variable_names=["annotations", "class_names"])
        # `squeeze_me` turns an array of one row into a scalar.
        rows = np.atleast_1d(contents["annotations"])
        class_names = np.atleast_1d(contents["class_names"])
        # Indexing raises an error here if a field is missing.
        rows[_FIELDS]
    # A broken MAT file makes scipy raise errors of many types, down to zlib.error.
    except Exception as error:
        raise ValueError(f"{file} is not Cars196's annotation file ({error}); restore it from the download") from error
    return rows, class_names


def _photo(row: np.void, class_names: np.ndarray) -> Photo:
    number = int(row["class"])
    if not 1 <= number <= len(class_names):
        raise ValueError(f"class {number} of {len(class_names)}")
    left, top, right, bottom = (int(row[name]) for name in _FIELDS[1:5])
    # MATLAB counts pixels from 1 and includes the last one; boxes here count from 0 and exclude it.
    box = (left - 1, top - 1, right, bottom)
    split = "train" if number <= _LAST_TRAIN_CLASS else "test"
    return Photo(str(row["relative_im_path"]), str(class_names[number - 1]), split, box)
