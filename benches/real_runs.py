"""Training on the real files, with tables of the results: `python tools/real_files.py && python benches/real_runs.py`.

Every run has a folder in --runs, and a finished run is not repeated, so the script can be interrupted at any time. The
figures are written to benches/results/real_runs.json with commit, versions and device, and printed as a table.
"""

import json
import statistics
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import tyro
from provenance import processor

from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.run import resume, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, SoftTriple, Triplet

LOSSES = {"triplet": Triplet(), "circle": Circle(), "softtriple": SoftTriple()}
RESULTS = Path(__file__).parent / "results" / "real_runs.json"

SCRATCH = with_settings(
    Experiment(),
    {
        "data_name": "omniglot",
        "backbone": "resnet18",
        "descriptors": "S",
        "dim": 128,
        "auxiliary": 0.0,
        "batch_size": 32,
        "num_epochs": 12,
        "learning_rate": 2e-3,
        "weights": "none",
        "stride": "none",
        "freeze_bn": "none",
        "image_size": 64,
        "precision": "bfloat16",
    },
)
LITE0 = with_settings(
    SCRATCH,
    {
        "data_name": "tiny",
        "backbone": "efficientnet_lite0",
        "weights": "imagenet",
        "freeze_bn": "statistics",
        "learning_rate": 5e-4,
        "num_epochs": 3,
        "precision": "float32",
    },
)
BIRDS = with_settings(LITE0, {"data_name": "birds", "image_size": 160, "batch_size": 20, "num_epochs": 4})
GENTLE = 5e-5
STUDIES = {
    "omniglot": (SCRATCH, 3),
    "tiny-scratch": (with_settings(SCRATCH, {"data_name": "tiny", "num_epochs": 8}), 1),
    "tiny-lite0": (LITE0, 1),
    "tiny-lite0-gentle": (with_settings(LITE0, {"learning_rate": GENTLE}), 1),
    "birds-lite0": (BIRDS, 3),
    "birds-lite0-gentle": (with_settings(BIRDS, {"learning_rate": GENTLE}), 3),
}


@dataclass(frozen=True)
class Options:
    """Options: the folders of the prepared data and of the runs, and which studies and losses to run."""

    data_path: Path = Path("data")
    runs: Path = Path("runs/real")
    studies: tuple[str, ...] = tuple(STUDIES)
    losses: tuple[str, ...] = tuple(LOSSES)


def finish(experiment: Experiment, place: RunFolder) -> Outcome:
    """Train an experiment, or resume it."""
    events = resume(place) if place.path.is_dir() else train(experiment, place)
    for event in events:
        if isinstance(event, EpochRow):
            r = event.report
            print(f"{place.path.name} epoch {event.epoch}: R@1 {r['R@1']:.3f} in {event.seconds:.0f} s", flush=True)
    return place.read_outcome()


def summary(outcomes: list[Outcome], epoch: int) -> dict[str, list[float]]:
    """Return R@1, P@8, MAP@R, s_p, s_n of every seed after an epoch."""
    rows = [next(row for row in outcome.rows if row.epoch == epoch) for outcome in outcomes]
    reports = {name: [row.report[name] for row in rows] for name in ("R@1", "P@8", "MAP@R")}
    return reports | {"s_p": [row.mean_s_p for row in rows], "s_n": [row.mean_s_n for row in rows]}


def baselines(outcomes: list[Outcome]) -> dict[str, dict[str, list[float]]]:
    """Return R@1, P@8 and MAP@R of the backbone as it comes, of every seed, by its name; empty for runs without it."""
    measured = [outcome.baseline for outcome in outcomes if outcome.baseline is not None]
    if not measured:
        return {}
    return {measured[0].name: {name: [b.report[name] for b in measured] for name in ("R@1", "P@8", "MAP@R")}}


def line(name: str, values: dict[str, list[float]]) -> str:
    """Write one row of the table: mean ± standard deviation over seeds."""
    cells = []
    for found in values.values():
        spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
        cells.append(f"{statistics.mean(found):.3f}{spread}")
    return f"| {name} | {' | '.join(cells)} |"


def main(options: Options) -> None:
    """Run all studies, print and store their results."""
    found: dict[str, dict] = {}
    for study in options.studies:
        base, seeds = STUDIES[study]
        print(f"\n## {study}\n")
        tables = []
        for name in options.losses:
            loss, outcomes = LOSSES[name], []
            for seed in range(seeds):
                experiment = with_settings(base, {"loss": loss, "seed": seed, "data_path": options.data_path})
                outcomes.append(finish(experiment, RunFolder(options.runs / f"{study}-{name}-{seed}")))
            per_epoch = [summary(outcomes, row.epoch) for row in outcomes[0].rows]
            seconds = [sum(row.seconds for row in o.rows) for o in outcomes]
            found[f"{study}-{name}"] = {"epochs": per_epoch, "seconds": seconds, "baseline": baselines(outcomes)}
            tables.append((name, per_epoch))
        print("\n| | R@1 | P@8 | MAP@R | mean s_p | mean s_n |\n|---|---|---|---|---|---|")
        for model, values in baselines(outcomes).items():
            print(line(model, values))
        print(line("before training", tables[0][1][0]))
        for name, per_epoch in tables:
            print(line(name, per_epoch[-1]))
    if set(options.studies) != set(STUDIES) or set(options.losses) != set(LOSSES):
        return
    RESULTS.parent.mkdir(exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
    ).stdout.strip()
    about = {
        "commit": commit,
        "torch": version("torch"),
        "timm": version("timm"),
        "device": processor(),
    }
    RESULTS.write_text(json.dumps({"about": about, "results": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
