"""Does training in bfloat16 reach the same metrics as in float32?

    python tools/real_files.py && python benches/step_curve.py --data_path data

Trains on Omniglot with both, over seeds, from random weights, BatchNorm learning its statistics; prints Recall@1 of every
epoch, the mean difference and the spread over seeds. Writes benches/results/step_curve.json.
"""

import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.losses import Circle

RESULTS = Path(__file__).parent / "results" / "step_curve.json"


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, what is trained, and how often."""

    data_path: Path = Path("data")
    backbone: str = "test_resnet"
    size: int = 48
    epochs: int = 3
    seeds: int = 3


def main(options: Options) -> None:
    """Train, print and store the curves."""
    base = with_settings(
        Experiment(Circle()),
        {
            "data_path": options.data_path,
            "data_name": "omniglot",
            "backbone": options.backbone,
            "image_size": options.size,
            "num_epochs": options.epochs,
            "descriptors": "S",
            "dim": 128,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "weights": "none",
            "stride": "none",
            "freeze_bn": "none",
            "log_analysis": False,
            "device": "cpu",
            "workers": 0,
        },
    )
    curves: dict[str, list[list[float]]] = {"float32": [], "bfloat16": []}
    for seed in range(options.seeds):
        for precision, some in curves.items():
            with tempfile.TemporaryDirectory() as folder:
                done = run(with_settings(base, {"precision": precision, "seed": seed}), Path(folder) / "run")
            some.append([row.report["R@1"] for row in done.outcome.rows])
            print(precision, seed, [round(100 * recall, 2) for recall in some[-1]], flush=True)
            keep(options, curves)


def keep(options: Options, curves: dict[str, list[list[float]]]) -> None:
    """Write the curves and the difference of the last epochs."""
    last = {name: [curve[-1] for curve in some] for name, some in curves.items()}
    differences = [b - a for a, b in zip(last["float32"], last["bfloat16"], strict=False)]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
    ).stdout.strip()
    found = {
        "about": {"commit": commit, "date": time.strftime("%Y-%m-%d"), "torch": torch.__version__},
        "what": f"{options.backbone} at {options.size} px, {options.epochs} epochs, Omniglot, Circle",
        "R@1 of every epoch": curves,
        "bfloat16 - float32, last epoch": differences,
        "spread over seeds, float32": statistics.stdev(last["float32"]) if len(last["float32"]) > 1 else None,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
