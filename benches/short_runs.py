"""Two single runs that docs/results.md quotes: `python tools/real_files.py --out data && python benches/short_runs.py`.

Eight epochs of circle loss alone on Omniglot from random weights, and one epoch with the settings of the original project on
ten bird species.
With --pictures the learning curves and the embedding map of the first become docs/images/omniglot-circle.png and map.png.
Writes benches/results/short_runs.json.
"""

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from provenance import RESULTS, about, write_result
from real_runs import SCRATCH

from pairlens.analysis.failure_sheets import write_pictures_of
from pairlens.analysis.inspection import inspect_run, write_inspection
from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.losses import Circle

FILE = RESULTS / "short_runs.json"
IMAGES = RESULTS.parent.parent / "docs" / "images"
RUNS = {
    "omniglot, 8 epochs": with_settings(SCRATCH, {"loss": Circle(), "num_epochs": 8}),
    "birds, historical settings": with_settings(
        Experiment(),
        {"loss": Circle(), "data_name": "birds", "backbone": "efficientnet_lite0", "batch_size": 20, "num_epochs": 1},
    ),
}


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, and whether to replace the pictures of the documents."""

    data_path: Path = Path("data")
    pictures: bool = False


def main(options: Options) -> None:
    """Train, print and store."""
    found = {}
    for name, experiment in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            done = run(with_settings(experiment, {"data_path": options.data_path}), Path(folder) / "run")
            outcome = done.outcome
            (recall,) = (metric for metric in outcome.report.metrics if metric.name == "R@1")
            found[name] = {
                "before training": outcome.untrained["R@1"],
                "R@1": asdict(recall),
                "R@1 of every epoch": [row.report["R@1"] for row in outcome.rows],
                "seconds of every epoch": [row.seconds for row in outcome.rows],
            }
            if options.pictures and name.startswith("omniglot"):
                write_pictures(done.folder, options.data_path)
        print(name, found[name], flush=True)
        write_result(FILE, {"about": about("timm"), "runs": found})


def write_pictures(folder: Path, data_path: Path) -> None:
    """Replace the pictures of the documents by those of a run."""
    shutil.copy(folder / "curves.png", IMAGES / "omniglot-circle.png")
    inspection = inspect_run(folder, data_path)
    out = folder / "inspection"
    write_inspection(inspection, out)
    write_pictures_of(inspection, folder, out, data_path)
    shutil.copy(out / "map.png", IMAGES / "map.png")


if __name__ == "__main__":
    main(tyro.cli(Options))
