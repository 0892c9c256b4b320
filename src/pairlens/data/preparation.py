"""The options of `prepare`: which raw data set, where it goes, and how its photos are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pairlens.core.photo_reading import BoxFrame, PhotoReading
from pairlens.core.suggestion import suggest
from pairlens.data.catalog import MAX_SIDE, Crop
from pairlens.data.readers import DataName, reader_names
from pairlens.data.split import SplitRule

# The data name of photos that a Python program lists; no reader has it.
RECORDS = "records"


# The texts below the fields are shown by `pairlens prepare --help`.
@dataclass(frozen=True)
class Preparation:
    """How to prepare a data set.

    Raises:
        ValueError: if there is no such reader, the name, size or quality is out of range, or a table is not named.
    """

    data_name: str
    """Which raw data set or layout: car, cub, sop, isc, a folder of class folders, a csv (or Parquet) table, a coco JSON
    file, or the name of a reader that an installed package offers as an entry point of pairlens.readers."""
    data_path: Path = Path("data")
    """Folder of the prepared data sets."""
    source: Path | None = None
    """The raw data set; by default <data_path>/<data_name>. For csv, the table; for coco, the JSON file."""
    images: Path | None = None
    """For coco, the folder of the photos; by default the folder images beside the JSON file, or the file's folder."""
    name: str | None = None
    """Name of the prepared folder; by default the data name."""
    crop_type: Crop = "uncropped"
    """Whole photos, or photos cropped to their bounding boxes; a photo without a box stays whole."""
    box_frame: BoxFrame = "upright"
    """What boxes refer to: the upright photo, or the pixels as they are stored, before the EXIF turn."""
    size: int = 252
    """Side of the stored pictures in pixels."""
    split: SplitRule = "classes"
    """classes: no test class has training photos (the data set's own split, or the first half of its classes for training);
    photos: half of the photos of each class are test photos; given: the data set's own split, with the same class on both
    sides if it is so. Figures of the last two are marked as classes seen in training."""
    seed: int = 0
    """Chooses the test photos of --split photos."""
    quality: int = 95
    """JPEG quality of the stored pictures."""
    class_depth: int | None = None
    """For folder: how many folders, counted from the split, make the class; by default all, down to the photo."""
    follow_links: bool = False
    """Read what links inside the data folder lead to outside of it."""
    icc: bool = True
    """Convert photos with a colour profile to sRGB; without it their values are kept as they are."""
    max_failures: float = 0.01
    """The share of the photos that may be unreadable, from 0 to 1."""
    strict: bool = False
    """Stop if a single photo cannot be read, as --max_failures 0 does."""
    force: bool = False
    """Prepare again even if nothing has changed."""

    def __post_init__(self) -> None:
        # Paths are also accepted as text. A frozen dataclass sets a field this way.
        object.__setattr__(self, "data_path", Path(self.data_path))
        for name in ("source", "images"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        self._check_reader()
        self._check_numbers()
        if self.name is not None and (self.name in ("", "..") or self.name != Path(self.name).name):
            raise ValueError(f"--name {self.name!r} is not a plain folder name; use a name without slashes")
        if self.split not in get_args(SplitRule):
            raise ValueError(f"--split {self.split!r} is not one of {', '.join(get_args(SplitRule))}; use one of these")
        if self.box_frame not in get_args(BoxFrame):
            raise ValueError(f"--box_frame {self.box_frame!r} is not upright or stored; use one of these")

    def _check_numbers(self) -> None:
        if not 1 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size {self.size} is out of range; choose 1 to {MAX_SIDE} pixels")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"--quality {self.quality} is out of range; choose 1 to 100")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"--seed {self.seed} is out of range; choose a number from 0")
        # Written so that NaN, for which every comparison is false, is rejected too.
        if not 0 <= self.max_failures <= 1:
            raise ValueError(f"--max_failures {self.max_failures} is not a share; choose 0 to 1, such as 0.05 for 5 %")
        if self.class_depth is not None and self.class_depth < 1:
            raise ValueError(f"--class_depth {self.class_depth} is out of range; choose 1 or more folders")

    def _check_reader(self) -> None:
        known = reader_names()
        if self.data_name not in (*known, RECORDS) or self.data_name != Path(self.data_name).name:
            raise ValueError(f"--data_name {self.data_name!r} is not a reader; {suggest(self.data_name, known)}")
        files = {"csv": "the path of the table", "coco": "the path of the JSON file"}
        if self.data_name in files and self.source is None:
            raise ValueError(f"--data_name {self.data_name} needs --source, {files[self.data_name]}")
        if self.images is not None and self.data_name != "coco":
            raise ValueError(f"--images is for --data_name coco; the reader {self.data_name} finds its photos itself")
        own = get_args(DataName)
        # An installed reader receives these options and may use the depth.
        if self.class_depth is not None and self.data_name in own and self.data_name != "folder":
            raise ValueError(f"--class_depth is for --data_name folder; {self.data_name} lists the class of each photo")

    @property
    def reading(self) -> PhotoReading:
        """How the files of the photos become pixels."""
        return PhotoReading(convert_colours=self.icc, box_frame=self.box_frame)

    @property
    def allowed_failures(self) -> float:
        """The share of the photos that may be unreadable."""
        return 0.0 if self.strict else self.max_failures

    @property
    def folder(self) -> Path:
        """The prepared folder."""
        return self.data_path / (self.name or self.data_name)

    @property
    def file(self) -> Path:
        """The prepared Arrow file."""
        return self.folder / f"{self.crop_type}.arrow"

    @property
    def failures_file(self) -> Path:
        """The list of what was refused, left out or repaired, with columns path, reason, outcome and kind."""
        return self.folder / f"{self.crop_type}.failures.csv"
