"""Which prepared data set a run uses."""

from dataclasses import dataclass, field
from pathlib import Path

from pairlens.core.records import require
from pairlens.core.settings import RULES, Rules, check_settings, setting
from pairlens.data.catalog import Crop
from pairlens.data.feature_file import SUFFIX

FEATURES, COLLECTION = "features", "collection"


@dataclass(frozen=True)
class DataConfig:
    """Which prepared data set is used.

    Attributes:
        path: folder of the prepared data sets.
        name: car, cub, sop, isc, minicars, folder, csv, coco, features, collection, or the name given to `pairlens prepare
            --name`.
        crop: whole photos, or photos cropped to their bounding box (car, cub, coco, tables with boxes).
        source: for --data_name features, the Parquet file with the features of the photos; for --data_name collection, the
            collection whose labelled photos are trained on: its folder, or
            postgresql://user@host/database?collection=NAME.

    Raises:
        ValueError: if the name is not that of a folder in `path`, or the source is missing or not for this name.
    """

    path: Path = setting(Path("data"), Rules(option="data_path"))
    name: str = setting("car", Rules(option="data_name"))
    crop: Crop = setting("uncropped", Rules(option="crop_type"))
    source: str = field(default="", metadata={RULES: Rules(), "omit_default": True})

    def __post_init__(self) -> None:
        # Python users may give a path as text; a frozen record can only be changed like this.
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "source", str(self.source))
        check_settings(self)
        require(
            self.name == Path(self.name).name and self.name not in ("", ".."),
            f"--data_name {self.name!r} is not a plain folder name; give the folder that contains it as --data_path",
        )

        require(
            not self.source or self.name in (FEATURES, COLLECTION),
            f"--source is for --data_name {COLLECTION} or {FEATURES}, not for {self.name}; give both",
        )
        require(
            self.name != FEATURES or (self.source.endswith(SUFFIX) and self.crop == "uncropped"),
            f"--data_name {FEATURES} needs the file of the features as --source FILE{SUFFIX}, and no --crop_type",
        )

    @property
    def holds_features(self) -> bool:
        """Whether the data set is a file of features that another program has computed."""
        return self.name == FEATURES

    @property
    def file(self) -> Path:
        """The file of the prepared data set, or of the given features."""
        if self.holds_features:
            return Path(self.source)
        return self.path / self.name / f"{self.crop}.arrow"
