"""What does every loss reach in a short training? `python benches/every_loss.py`.

Trains the small model of the demonstration under each loss alone (no auxiliary classifier) with its default settings, for a
few epochs and one seed. It shows that each loss learns; with one seed and no tuning it ranks nothing. Writes
benches/results/every_loss.json.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from provenance import RESULTS, about, write_result

from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.cli.demo import SMALL
from pairlens.core.settings import with_settings
from pairlens.experiments.run import run

FILE = RESULTS / "every_loss.json"


@dataclass(frozen=True)
class Options:
    """Options: the folder of the minicars (they are rendered if missing), and how long to train."""

    data_path: Path = Path("demo/data")
    epochs: int = 2


def main(options: Options) -> None:
    """Train, print and store."""
    base = with_settings(
        SMALL, {"data_path": options.data_path, "auxiliary": 0.0, "num_epochs": options.epochs, "log_analysis": False}
    )
    found: dict[str, float] = {}
    before = 0.0
    for entry in LOSS_CARDS:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(replace(base, loss=entry.loss()), Path(folder) / "run").outcome
        before, found[entry.name] = 100 * outcome.untrained["R@1"], 100 * outcome.report["R@1"]
        print(f"{entry.name}: R@1 {found[entry.name]:.1f}", flush=True)
        result = {"epochs": options.epochs, "before training": before, "R@1": found}
        write_result(FILE, {"about": about("timm"), **result})


if __name__ == "__main__":
    main(tyro.cli(Options))
