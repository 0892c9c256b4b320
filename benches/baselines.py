"""What a training adds to its backbone: `python tools/real_files.py --out data && python benches/baselines.py`.

One epoch of circle loss with the settings of the original project on ten bird species (five train, five test), at two image
sizes, beside the backbone as it comes and the model before training with its random projections.
Writes benches/results/baselines.json.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from provenance import RESULTS, about, write_result

from pairlens.core.settings import with_settings
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.losses import Circle

FILE = RESULTS / "baselines.json"
SETTINGS = with_settings(
    Experiment(),
    {"loss": Circle(), "data_name": "birds", "backbone": "efficientnet_lite0", "batch_size": 20, "num_epochs": 1},
)
METRICS = ("R@1", "P@8", "MAP@R")


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, the image sizes, and the number of seeds."""

    data_path: Path = Path("data")
    sizes: tuple[int, ...] = (128, 224)
    seeds: int = 3


def figures(report: Report) -> dict[str, float]:
    """Return the metrics that the documents show, in percent."""
    return {name: 100 * report[name] for name in METRICS}


def main(options: Options) -> None:
    """Train, print and store."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for size in options.sizes:
        models = results.setdefault(f"{size} px", {})
        for seed in range(options.seeds):
            settings = {"data_path": options.data_path, "image_size": size, "seed": seed}
            with tempfile.TemporaryDirectory() as folder:
                outcome = run(with_settings(SETTINGS, settings), Path(folder) / "run").outcome
            for name, report in (*outcome.baselines, ("circle, 1 epoch", outcome.report)):
                models.setdefault(name, []).append(figures(report))
            print(size, seed, {name: values[-1] for name, values in models.items()}, flush=True)
        write_result(FILE, {"about": about("timm"), "results": results})


if __name__ == "__main__":
    main(tyro.cli(Options))
