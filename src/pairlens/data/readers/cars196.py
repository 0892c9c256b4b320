"""Cars196: `cars_annos.mat` with the pictures under `car_ims/`; models 1 to 98 train, 99 to 196 test."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from pairlens.data.annotations import Annotations, Photo, Split
from pairlens.data.readers.mat_checks import check_mat_file

PUBLISHED: dict[Split, tuple[int, int]] = {"train": (98, 8054), "test": (98, 8131)}

_LAST_TRAIN_CLASS = 98
_FIELDS: list[str] = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class"]


def read(root: Path) -> Annotations:
    """List the photos of Cars196, classes in the order of their numbers.

    Raises:
        FileNotFoundError: if `cars_annos.mat` is missing.
        ValueError: if it is not the file that comes with the pictures.
    """
    file = root / "cars_annos.mat"
    annotations, names = _annotations(file)
    try:
        photos = tuple(_photo(row, names) for row in sorted(annotations, key=lambda row: int(row["class"])))
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{file} holds a row that is no car ({error}); restore it from the download") from error
    return Annotations("car", root, photos)


def _annotations(file: Path) -> tuple[np.ndarray, np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; put cars_annos.mat of Cars196 there, beside the folder car_ims")
    try:
        check_mat_file(file)
        contents = loadmat(file, squeeze_me=True, variable_names=["annotations", "class_names"])
        annotations, names = np.atleast_1d(contents["annotations"]), np.atleast_1d(contents["class_names"])
        annotations[_FIELDS]
    # A broken MAT file makes scipy raise nearly anything, down to zlib.error.
    except Exception as error:
        raise ValueError(f"{file} is not Cars196's annotation file ({error}); restore it from the download") from error
    return annotations, names


def _photo(row: np.void, names: np.ndarray) -> Photo:
    number = int(row["class"])
    if not 1 <= number <= len(names):
        raise ValueError(f"class {number} of {len(names)}")
    left, top, right, bottom = (int(row[name]) for name in _FIELDS[1:5])
    split = "train" if number <= _LAST_TRAIN_CLASS else "test"
    # The file counts pixels from 1 and includes the last, as MATLAB does.
    return Photo(str(row["relative_im_path"]), str(names[number - 1]), split, (left - 1, top - 1, right, bottom))
