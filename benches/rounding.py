"""How far does rounding alone move the demonstration? `pairlens demo`, then `python benches/rounding.py`.

Trains its circle run several times from weights that are each multiplied by 1 + 1e-7 times a normal number, everything else
being the same, with BatchNorm folded into its convolution and apart. Writes benches/results/rounding.json.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import tyro

from pairlens.cli.demo import SMALL
from pairlens.core.settings import with_settings
from pairlens.experiments import run as running
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.training.learner import Learner

RESULTS = Path(__file__).parent / "results" / "rounding.json"
NOISE = 1e-7


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared minicars, and the number of trainings."""

    data_path: Path = Path("demo/data")
    times: int = 6


def moved(experiment: Experiment, classes: int, draw: torch.Generator, folded: bool) -> Learner:
    """Return the learner of an experiment with every weight changed by about one rounding error."""
    learner = make_learner(experiment, classes)
    if not folded:
        for module in learner.model.modules():
            vars(module).pop("forward", None)
    with torch.no_grad():
        for weight in learner.model.parameters():
            weight.mul_(1 + NOISE * torch.randn(weight.shape, generator=draw))
    return learner


def train(experiment: Experiment, number: int, folded: bool) -> float:
    """Return R@1 after the last epoch."""
    draw = torch.Generator().manual_seed(number)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(running, "make_learner", lambda e, classes: moved(e, classes, draw, folded)),
    ):
        return running.run(experiment, Path(folder) / "run").outcome.rows[-1].report["R@1"]


def main(options: Options) -> None:
    """Train, print and store."""
    torch.set_num_threads(1)
    experiment = with_settings(SMALL, {"loss": Circle(), "data_path": options.data_path, "log_analysis": False})
    found: dict[str, object] = {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__}
    for name, folded in {"folded": True, "apart": False}.items():
        values = [train(experiment, number, folded) for number in range(options.times)]
        found[name] = {"R@1": values, "mean": statistics.mean(values), "deviation": statistics.stdev(values)}
        print(name, found[name], flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
