"""Do two studies rank the losses alike, and do the intervals of their rank correlation hold?

    python benches/rank_agreement.py runs/cub benches/results/omniglot_study.csv
    python benches/rank_agreement.py runs/cub runs/omniglot --same "circle 64=circle"
    python benches/rank_agreement.py --coverage

A study is the folder of a comparison, its results.json, or a CSV file with the means of a table whose runs are gone. Losses
with the same name are the same loss; `--same` adds names that mean the same, OTHER=FIRST. The table goes to the terminal and
the figure into the folder of the first study. `--coverage` simulates studies whose true correlation is known, and writes
benches/results/rank_agreement.json.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from provenance import RESULTS, about, write_result

from pairlens.comparison.agreement_figure import draw_rank_agreement
from pairlens.comparison.findings import Estimate
from pairlens.comparison.findings_tables import agreement_table
from pairlens.comparison.rank_agreement import RankedLosses, agreement_of, read_ranked_losses
from pairlens.comparison.rank_correlation import clustered_spearman, kendall_estimate, spearman_estimate

STUDIES = 4000
SEEDS = 5
# Numbers of losses; correlations of the true means; standard deviation over seeds in units of that over losses.
RUN_STUDIES = 1000
RUN_CASES = [(losses, rho) for losses in (6, 12, 20) for rho in (0.0, 0.5, 0.8)]
CASES = [(losses, rho, noise) for losses in (6, 9, 15, 25) for rho in (0.0, 0.5, 0.9) for noise in (0.1, 0.5)]
Coefficient = Callable[[list[float], list[float]], Estimate]


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        studies: two studies.
        same: losses of the second study that have another name in the first, as OTHER=FIRST.
        figure: where the figure is written.
        coverage: simulate studies instead.
    """

    studies: tyro.conf.Positional[tuple[Path, ...]] = ()
    same: tuple[str, ...] = ()
    figure: Path = Path("rank_agreement.svg")
    coverage: bool = False


def renamed(ranked: RankedLosses, names: dict[str, str]) -> RankedLosses:
    """Return losses under the names that they have in the first study."""
    means, errors = (
        {names.get(name, name): value for name, value in of.items()} for of in (ranked.means, ranked.errors)
    )
    return replace(ranked, means=means, errors=errors)


def compare_studies(options: Options) -> None:
    """Print the agreement of every benchmark of the first study with every one of the second, and draw their ranks."""
    if len(options.studies) != 2:
        raise SystemExit("give two studies, or --coverage")
    first, second = map(read_ranked_losses, options.studies)
    names = dict(pair.split("=", 1) for pair in options.same)
    others = [renamed(ranked, names) for ranked in second]
    found = [agreement_of(one, other) for one in first for other in others]
    table = agreement_table([agreement for agreement in found if agreement is not None])
    print(table.markdown(), *table.notes, sep="\n\n")
    if draw_rank_agreement([*first, *others], options.figure) is not None:
        print(f"written: {options.figure}")


def coverage(estimate: Coefficient, true: float, losses: int, rho: float, noise: float) -> dict[str, float]:
    """Return how often the interval of simulated studies contains the correlation of the true means, and its width."""
    rng, hits, width = np.random.default_rng(0), 0, 0.0
    for _ in range(STUDIES):
        first = rng.normal(size=losses)
        second = rho * first + math.sqrt(1 - rho**2) * rng.normal(size=losses)
        means = [(t[:, None] + noise * rng.normal(size=(losses, SEEDS))).mean(axis=1).tolist() for t in (first, second)]
        found = estimate(*means)
        low, high = found.low or 0.0, found.high or 0.0
        hits += low <= true <= high
        width += high - low
    return {"coverage": hits / STUDIES, "width": width / STUDIES}


def coverage_over_runs(losses: int, rho: float) -> dict[str, float]:
    """Return how often the jackknife over losses contains the correlation of two measurements of runs.

    Half of the variance of each is of the loss, half of the seed, and both parts have the same correlation.
    """
    rng, hits, width = np.random.default_rng(0), 0, 0.0
    cluster = np.repeat(np.arange(losses), SEEDS)
    for _ in range(RUN_STUDIES):
        x, noise = (rng.normal(size=losses)[cluster] + rng.normal(size=len(cluster)) for _ in range(2))
        found = clustered_spearman(x, rho * x + math.sqrt(1 - rho**2) * noise, cluster)
        low, high = found.low or 0.0, found.high or 0.0
        hits += low <= 6 / math.pi * math.asin(rho / 2) <= high
        width += high - low
    return {"coverage": hits / RUN_STUDIES, "width": width / RUN_STUDIES}


def simulate() -> dict[str, Any]:
    """Return the coverage of both coefficients in every case."""
    results = {}
    for losses, rho, noise in CASES:
        case = f"{losses} losses, correlation {rho:g}, seeds {noise:g}"
        # Of two normal variables with correlation rho.
        truth = {"Spearman": 6 / math.pi * math.asin(rho / 2), "Kendall": 2 / math.pi * math.asin(rho)}
        results[case] = {
            name: coverage(estimate, truth[name], losses, rho, noise)
            for name, estimate in (("Spearman", spearman_estimate), ("Kendall", kendall_estimate))
        }
        print(case, results[case], flush=True)
    for losses, rho in RUN_CASES:
        results[f"runs of {losses} losses, correlation {rho:g}"] = coverage_over_runs(losses, rho)
    return results


def main() -> None:
    """Compare two studies, or simulate."""
    options = tyro.cli(Options, description=__doc__)
    if not options.coverage:
        compare_studies(options)
        return
    setting = {"studies": STUDIES, "seeds": SEEDS, "level": 0.95}
    write_result(RESULTS / "rank_agreement.json", {**about("numpy"), **setting, "results": simulate()})


if __name__ == "__main__":
    main()
