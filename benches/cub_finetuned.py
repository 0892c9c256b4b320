"""Stores what fine-tuned studies of CUB-200-2011 have finished: `python benches/cub_finetuned.py runs/cub_finetuned_study`.

    pairlens compare benches/cub_finetuned_study.toml --data_path data --out runs/cub_finetuned_study
    pairlens compare benches/cub_finetuned_tuning.toml --data_path data --out runs/cub_finetuned_tuning

make the runs and go on where they were interrupted. This script reads every finished run of a study and every setting that
it tried, however many there are, adds them to those of benches/results/cub_finetuned.json, and compares the order of the
losses with that of the frozen study (benches/results/cub_study.json) and of Omniglot. A run that the file has already is
replaced, so the runs of one study may be made on several machines.
"""

import math
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import tyro
from provenance import RESULTS, about, write_result

from pairlens.comparison.rank_agreement import RankedLosses, agreement_of, read_ranked_losses
from pairlens.comparison.results import Results
from pairlens.comparison.study import slug
from pairlens.comparison.study_file import read_study
from pairlens.comparison.tuning import read_trials
from pairlens.core.records import from_plain
from pairlens.core.untrusted import read_json
from pairlens.experiments.run_folder import RunFolder

FILE, FROZEN, OMNIGLOT = (RESULTS / name for name in ("cub_finetuned.json", "cub_study.json", "omniglot_study.csv"))
METRICS = ("R@1", "MAP@R")
# The name of the arm that has no pairwise loss.
CONTROL = "none"


def finished(folder: Path) -> list[dict[str, Any]]:
    """Return benchmark, loss, seed and metrics of every finished run."""
    found = []
    for outcome in sorted((folder / "runs").glob("*/*/seed*/outcome.json")):
        folder_of_run = RunFolder(outcome.parent)
        outcome_of_run = folder_of_run.read_outcome()
        rows = outcome_of_run.rows
        # A run that goes on has an outcome from its first evaluation on, before training.
        if rows[-1].epoch < folder_of_run.experiment().run.epochs:
            continue
        loss, seed = outcome.parent.parent.name, int(outcome.parent.name.removeprefix("seed"))
        values = {name: rows[-1].report.metric(name).value for name in METRICS}
        before = {name: rows[0].report.metric(name).value for name in METRICS}
        baselines = {
            baseline: {name: report.metric(name).value for name in METRICS}
            for baseline, report in outcome_of_run.baselines
        }
        place = {"benchmark": outcome.parts[-4], "loss": loss, "seed": seed, "epochs": rows[-1].epoch}
        place["date"] = time.strftime("%Y-%m-%d", time.gmtime(outcome.stat().st_mtime))
        found.append({**place, **values, "before": before, "baselines": baselines})
    return found


def tried(folder: Path) -> list[dict[str, Any]]:
    """Return the settings of every loss that a study has tried on folds, in the order in which they were tried."""
    found = []
    for file in sorted((folder / "tuning").glob("*/*/trials.json")):
        trials = [{"params": trial.params, "folds": trial.folds} for trial in read_trials(file.parent)]
        place = {"benchmark": file.parts[-3], "loss": file.parts[-2], "planned": read_study(folder).tune}
        found.append({**place, "trials": trials})
    return found


def merged(stored: list[dict[str, Any]], new: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Return stored records with the new ones, of which each takes the place of the one with the same keys."""
    records = {tuple(record[key] for key in keys): record for record in (*stored, *new)}
    return [records[place] for place in sorted(records)]


def ranked(runs: list[dict[str, Any]], benchmark: str) -> RankedLosses:
    """Return the mean MAP@R of each loss of a benchmark."""
    values: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run["benchmark"] == benchmark and run["loss"] != CONTROL:
            values[run["loss"]].append(run["MAP@R"])
    errors = {name: stdev(some) / math.sqrt(len(some)) for name, some in values.items() if len(some) > 1}
    return RankedLosses(benchmark, "MAP@R", {name: mean(some) for name, some in values.items()}, errors)


def others() -> list[RankedLosses]:
    """Return the frozen study and Omniglot, with the names of losses as they stand in the names of folders."""
    results = from_plain(Results, read_json(FROZEN)["results"], str(FROZEN))
    found = [*(RankedLosses.of(field) for field in results.fields), *read_ranked_losses(OMNIGLOT)]
    return [
        RankedLosses(one.name, one.metric, *({slug(n): v for n, v in of.items()} for of in (one.means, one.errors)))
        for one in found
        if one.metric == "MAP@R"
    ]


def main(folder: Path, /) -> None:
    """Store the finished runs of a study.

    Args:
        folder: of the comparison.
    """
    stored = read_json(FILE) if FILE.is_file() else {}
    runs = merged(stored.get("runs", []), finished(folder), "benchmark", "loss", "seed")
    tuning = merged(stored.get("tuning", []), tried(folder), "benchmark", "loss")
    agreements = []
    compared = others()
    for benchmark in sorted({run["benchmark"] for run in runs}, reverse=True):
        order = ranked(runs, benchmark)
        for other in compared:
            found = agreement_of(other, order)
            # Too few losses have no interval, and then the correlation says nothing.
            if found is not None and found.spearman.low is not None:
                spearman = found.spearman
                agreements.append(
                    {
                        "benchmark": benchmark,
                        "with": other.name,
                        "losses": len(found.losses),
                        "spearman": spearman.value,
                        "low": spearman.low,
                        "high": spearman.high,
                    }
                )
        # The next benchmark of this study is compared with this one, too.
        compared.append(order)
    write_result(FILE, {"about": about(), "runs": runs, "tuning": tuning, "agreements": agreements})
    print(f"{len(runs)} finished runs in {FILE.name}, and the tuning of {len(tuning)} losses")


if __name__ == "__main__":
    tyro.cli(main)
