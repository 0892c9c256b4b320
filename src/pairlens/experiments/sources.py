"""The prepared data set of an experiment; minicars draws itself."""

from pairlens.core.distributed import rank, wait_for_all
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.dataset import draw_if_missing
from pairlens.experiments.experiment import Experiment


def open_catalog(experiment: Experiment) -> Catalog:
    """Open the prepared data set of an experiment; minicars is drawn if it is not there or damaged.

    Raises:
        FileNotFoundError: naming the command that prepares it.
        ValueError: if the file is damaged, or `cropped` was asked of a data set without boxes.
    """
    file = experiment.data_path / experiment.data_name / f"{experiment.crop_type}.arrow"
    if experiment.crop_type == "cropped" and experiment.data_name in ("sop", "isc", "minicars", "folder"):
        raise ValueError(
            f"--crop_type cropped needs bounding boxes, which {experiment.data_name} does not have (car, cub and tables "
            "with x_1 to y_2 do); use --crop_type uncropped"
        )
    if experiment.data_name == "minicars":
        if rank() == 0:
            draw_if_missing(file)
        wait_for_all()
    return Catalog.open(file)
