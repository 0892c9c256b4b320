"""Stores the results of a frozen study of CUB-200-2011: `python benches/cub_study.py runs/cub_study`.

    pairlens compare benches/cub_study.toml --data_path data --out runs/cub_study --processes 2

makes the runs and goes on where it was interrupted; this script takes over the results of what is finished, without learning
curves and paths, into a file of benches/results with the name of the folder. Missing runs are counted there and in
docs/results.md. benches/cub_backbones.toml is another such study.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from provenance import RESULTS, about, write_result

from pairlens.comparison.results import BenchmarkResult, read_results
from pairlens.core.records import to_plain

METRICS = ("R@1", "MAP@R")
COMPARED = ("triplet", "circle")


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        folder: of the comparison.
    """

    folder: tyro.conf.Positional[Path]


def shortened(benchmark: BenchmarkResult) -> BenchmarkResult:
    """Return the results of a benchmark without what no document shows.

    That is the learning curves, the folders of the runs, most metrics, and most of the differences between any two of its
    many losses: those from the best loss and from triplet and circle loss are kept.
    """
    losses = (
        replace(
            loss,
            curve=loss.curve[-1:],
            epochs=loss.epochs[-1:],
            runs=(),
            metrics=tuple(loss.metric(name) for name in METRICS),
        )
        for loss in benchmark.losses
    )
    compared = {benchmark.losses[0].name, *COMPARED}
    differences = (one for one in benchmark.differences if {one.first, one.second} & compared)
    post = (replace(one, metrics=tuple(one.metric(name) for name in METRICS)) for one in benchmark.post)
    return replace(benchmark, losses=tuple(losses), differences=tuple(differences), post=tuple(post))


def rounded(plain: Any) -> Any:
    """Return stored values with seven digits, which is more than any document shows."""
    if isinstance(plain, dict):
        return {name: rounded(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [rounded(value) for value in plain]
    return float(f"{plain:.7g}") if isinstance(plain, float) else plain


def main(options: Options) -> None:
    """Store and say how much is missing."""
    found = read_results(options.folder)
    stored = replace(found, fields=tuple(map(shortened, found.fields)))
    file = RESULTS / f"{options.folder.name}.json"
    write_result(file, {"about": about("timm", "optuna"), "results": rounded(to_plain(stored))})
    for benchmark in stored.fields:
        print(f"{benchmark.name}: {len(benchmark.losses)} losses, {benchmark.missing} runs missing")


if __name__ == "__main__":
    main(tyro.cli(Options))
