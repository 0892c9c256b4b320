"""Does the study of CUB-200-2011 come to the same results on another machine?

    git show de33212:benches/results/cub_study.json > first.json
    pairlens compare benches/cub_study.toml --data_path data --out runs/cub_study --processes 2
    python benches/cub_repetition.py first.json runs/cub_study

The second command makes the study once more, with its tuning; the first one brings the results of the first time, which
benches/results/cub_study.json no longer has. This script compares both: the settings that tuning chose, the mean MAP@R of
each loss over the seeds that both have, and the order of the losses. Writes benches/results/cub_repetition.json.
"""

from pathlib import Path
from statistics import mean, median
from typing import Any

import tyro
from provenance import RESULTS, about, write_result

from pairlens.comparison.rank_agreement import RankedLosses, agreement_of
from pairlens.comparison.results import BenchmarkResult, LossResult, Results, read_results
from pairlens.core.records import from_plain
from pairlens.core.untrusted import read_json

FILE = RESULTS / "cub_repetition.json"
METRIC = "MAP@R"


def by_seed(loss: LossResult) -> dict[int, float]:
    """Return the metric of each seed, in percent."""
    return {seed: 100 * value for seed, value in zip(loss.seeds, loss.metric(METRIC).over_seeds.values, strict=True)}


def pairs(first: BenchmarkResult, again: BenchmarkResult) -> dict[str, tuple[float, float, int]]:
    """Return the means of each loss in both studies over the seeds that both have, and the number of these seeds."""
    repeated = {loss.name: by_seed(loss) for loss in again.losses}
    found = {}
    for loss in first.losses:
        values, others = by_seed(loss), repeated.get(loss.name, {})
        seeds = values.keys() & others.keys()
        if seeds:
            found[loss.name] = (mean(values[s] for s in seeds), mean(others[s] for s in seeds), len(seeds))
    return found


def compared(first: BenchmarkResult, again: BenchmarkResult) -> dict[str, Any]:
    """Return how far the two studies agree on a benchmark."""
    means = pairs(first, again)
    apart = {name: other - one for name, (one, other, _) in means.items()}
    farthest = max(apart, key=lambda name: abs(apart[name]))
    settings = {loss.name: (loss.loss, loss.settings) for loss in first.losses}
    same = sum(settings[loss.name] == (loss.loss, loss.settings) for loss in again.losses if loss.name in settings)
    agreement = agreement_of(RankedLosses.of(first), RankedLosses.of(again))
    circle, triplet = means.get("circle"), means.get("triplet")
    return {
        "benchmark": first.name,
        "losses": len(means),
        "seeds": min(count for *_, count in means.values()),
        "spearman": None if agreement is None else agreement.spearman.value,
        "low": None if agreement is None else agreement.spearman.low,
        "high": None if agreement is None else agreement.spearman.high,
        "median_apart": median(map(abs, apart.values())),
        "farthest": farthest,
        "farthest_apart": apart[farthest],
        "same_settings": same,
        "best": [first.losses[0].name, again.losses[0].name],
        "circle_above_triplet": [c - t for c, t in zip(circle[:2], triplet[:2], strict=True)]
        if circle and triplet
        else None,
        "means": {name: [one, other] for name, (one, other, _) in means.items()},
    }


def main(first: Path, folder: Path, /) -> None:
    """Compare, print and store.

    Args:
        first: the stored results of the study as it was made first.
        folder: of the repeated comparison.
    """
    stored = from_plain(Results, read_json(first)["results"], str(first))
    repeated = {one.name: one for one in read_results(folder).fields}
    rows = [compared(one, repeated[one.name]) for one in stored.fields if one.name in repeated]
    # Stored results have six digits. Two studies on different machines differ by more than that.
    if all(abs(row["farthest_apart"]) < 1e-4 for row in rows):
        raise SystemExit(f"{first} holds the results of {folder} itself; give those of another study")
    write_result(FILE, {"about": about("timm", "optuna"), "first": read_json(first)["about"], "benchmarks": rows})
    for row in rows:
        print({name: value for name, value in row.items() if name != "means"})


if __name__ == "__main__":
    tyro.cli(main)
