"""How much processor time does `--log_analysis` take?

    python tools/real_files.py && python benches/log_analysis.py --data_path data

Trains a small and a larger network on Omniglot. The result is the processor time of the statistics of the embeddings and of
the gradient cosine, as a share of the processor time of all epochs (training and evaluation) of the same run.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pairlens.core.settings import with_settings
from pairlens.experiments import run as running
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.training import fit

RESULTS = Path(__file__).parent / "results" / "log_analysis.json"
MODELS = {"test_resnet at 48 px": ("test_resnet", 48, 64), "resnet18 at 64 px, 1536-d": ("resnet18", 64, 1536)}
MAX_SHARE = 0.03


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, and the number of epochs."""

    data_path: Path = Path("data")
    epochs: int = 2


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function that adds the processor time it takes to a list."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            spent.append(time.process_time() - start)

    return wrapped


def share(experiment: Experiment) -> float:
    """Return the share of a run's processor time that the analysis takes."""
    spent: list[float] = []
    shapes, cosine = running._Keeper._shapes, fit.gradient_cosine
    running._Keeper._shapes, fit.gradient_cosine = timed(shapes, spent), timed(cosine, spent)
    try:
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            running.run(experiment, Path(folder) / "run")
        return sum(spent) / (time.process_time() - start)
    finally:
        running._Keeper._shapes, fit.gradient_cosine = shapes, cosine


def main(options: Options) -> None:
    """Measure, print and store the shares; a share above the limit is marked."""
    base = with_settings(
        Experiment(),
        {
            "loss": Circle(),
            "data_path": options.data_path,
            "data_name": "omniglot",
            "descriptors": "S",
            "batch_size": 32,
            "num_epochs": options.epochs,
            "weights": "none",
            "stride": "none",
            "freeze_bn": "none",
            "precision": "bfloat16",
            "workers": 0,
        },
    )
    found = {}
    for name, (backbone, size, dim) in MODELS.items():
        found[name] = share(with_settings(base, {"backbone": backbone, "image_size": size, "dim": dim}))
        print(
            f"{name}: {100 * found[name]:.2f} % of an epoch{'' if found[name] <= MAX_SHARE else ', too much'}",
            flush=True,
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
