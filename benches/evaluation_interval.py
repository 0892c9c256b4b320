"""How much of a training on a CPU are its evaluations, which `--evaluate_every` makes fewer?

    pairlens prepare --data_name folder --source FOLDER --name some --data_path data      # FOLDER/train and FOLDER/test
    python benches/evaluation_interval.py --data_path data --data_name some

Runs of four epochs that are evaluated after each epoch, and after the last one only, take turns. Both are also evaluated
before training. As many photos test as train, as on CUB-200-2011. Writes benches/results/evaluation_interval.json.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from provenance import RESULTS, about, write_result

from pairlens.core.freed_memory import keep_freed_memory
from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle

FILE = RESULTS / "evaluation_interval.json"
EPOCHS = 4


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        data_path: folder of the prepared data sets.
        data_name: which of them.
        rounds: how often both take turns.
    """

    data_path: Path = Path("data")
    data_name: str = "some"
    rounds: int = 3


def seconds(experiment: Experiment, every: int) -> float:
    """Return the duration of a run that is evaluated after every so many epochs."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(with_settings(experiment, {"evaluate_every": every}), Path(folder) / "run")
        return time.perf_counter() - start


def main(options: Options) -> None:
    """Measure, print and store."""
    keep_freed_memory()
    changes = {"data_path": options.data_path, "data_name": options.data_name, "backbone": "efficientnet_lite0"}
    changes |= {"descriptors": "SG", "dim": 512, "image_size": 128, "batch_size": 64, "num_epochs": EPOCHS}
    experiment = with_settings(Experiment(Circle()), changes | {"precision": "bfloat16", "log_analysis": False})
    parts = open_splits(experiment)
    pairs = [(seconds(experiment, 1), seconds(experiment, EPOCHS)) for _ in range(options.rounds)]
    ratios = [every / last for every, last in pairs]
    found = {
        "about": about("timm"),
        "what": f"EfficientNet-Lite0 at 128 px, bfloat16, {EPOCHS} epochs",
        "train": len(parts.train),
        "test": len(parts.test),
        "seconds, after every epoch": [every for every, _ in pairs],
        "seconds, after the last epoch": [last for _, last in pairs],
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
    }
    write_result(FILE, found)
    print(found)


if __name__ == "__main__":
    main(tyro.cli(Options))
