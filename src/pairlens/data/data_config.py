"""Which prepared data set a run uses."""

from dataclasses import dataclass
from pathlib import Path

from pairlens.core.records import require
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.data.catalog import Crop


@dataclass(frozen=True)
class DataConfig:
    """Which prepared data set is used.

    Attributes:
        path: folder of the prepared data sets.
        name: car, cub, sop, isc, minicars, folder, csv, or the name given to `pairlens prepare --name`.
        crop: whole photos, or photos cropped to their bounding box (car and cub).

    Raises:
        ValueError: if the name is not that of a folder in `path`.
    """

    path: Path = setting(Path("data"), Rules(option="data_path"))
    name: str = setting("car", Rules(option="data_name"))
    crop: Crop = setting("uncropped", Rules(option="crop_type"))

    def __post_init__(self) -> None:
        # Python users may give a path as text; a frozen record can only be changed like this.
        object.__setattr__(self, "path", Path(self.path))
        check_settings(self)
        require(
            self.name == Path(self.name).name and self.name not in ("", ".."),
            f"--data_name {self.name!r} is not a plain folder name; give the folder that contains it as --data_path",
        )

    @property
    def file(self) -> Path:
        """The file of the prepared data set."""
        return self.path / self.name / f"{self.crop}.arrow"
