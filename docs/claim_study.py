"""The tables of the study of CUB-200-2011, made from its stored results."""

import re
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from claim_targets import read

from pairlens.comparison.findings_tables import (
    agreement_table,
    contribution_table,
    prediction_tables,
    variance_table,
)
from pairlens.comparison.results import BenchmarkResult, LossResult, Results
from pairlens.comparison.study import slug
from pairlens.core.records import from_plain
from pairlens.core.table import Table
from pairlens.evaluation.intervals import Interval, t_interval

METRIC = "MAP@R"
MISSING = "not run"
# The folders of the benchmarks of the fine-tuned study.
FINETUNED = "cub-cropped-fine-tuned"
FINETUNED_AUXILIARY = "cub-cropped-fine-tuned-with-the-auxiliary-loss"
FINETUNED_CARS = "cars196-half-fine-tuned"


@cache
def study() -> Results:
    """Return the stored results."""
    return _stored("cub_study.json")


@cache
def backbone_study() -> Results:
    """Return the stored results of the study of three backbones."""
    return _stored("cub_backbones.json")


def _stored(name: str) -> Results:
    return from_plain(Results, read(name)["results"], f"benches/results/{name}")


def study_head(results: Results) -> tuple[str, ...]:
    """Return the names of the columns."""
    return ("R@1 / MAP@R in %", *(f"{one.name}, {_seeds(one)} seeds" for one in results.fields))


def study_rows(results: Results) -> list[tuple[str, ...]]:
    """Return a row for each loss, best first on the first benchmark, and for each baseline."""
    first, *_ = results.fields
    losses = [(loss.name, *(_of_loss(one, loss.name) for one in results.fields)) for loss in first.losses]
    baselines = [
        (f"*{base.name}*", *(_of_baseline(one, base.name) for one in results.fields)) for base in first.baseline_results
    ]
    return losses + baselines


def setting_rows() -> list[tuple[str, ...]]:
    """Return the settings that tuning chose for each loss."""
    return [(loss.name, f"`{_rounded(loss.loss)}`", loss.settings) for loss in study().fields[0].losses]


def _with_notes(table: Table) -> str:
    return "\n\n".join([table.markdown(), *table.notes])


def study_contributions() -> str:
    """What backbone, post-processing, auxiliary loss and pairwise loss contribute."""
    return _with_notes(contribution_table(study().findings.contributions, METRIC))


def study_variance() -> str:
    """Where the variance comes from."""
    return _with_notes(variance_table(study().findings.variance))


def backbone_variance() -> str:
    """How much of the variance comes from the backbone, for losses behind three of them."""
    parts = [part for part in backbone_study().findings.variance if "backbone" in part.name]
    return _with_notes(variance_table(parts))


def backbone_agreement() -> str:
    """Whether the losses have the same order behind three backbones."""
    return agreement_table(backbone_study().findings.agreements).markdown()


def study_agreement() -> str:
    """Whether the benchmarks rank the losses alike."""
    return _with_notes(agreement_table(study().findings.agreements))


def study_predictors() -> str:
    """Which cheap measurement predicts the test metric, on the first benchmark."""
    first = study().fields[0].name
    of_first = [one for one in study().findings.predictions if one.benchmark == first]
    return _with_notes(prediction_tables(of_first, METRIC)[0])


def post_processing_table() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the names of the columns, and a row for each way of post-processing."""
    runs = read("post_processing.json")["runs"]
    names = {slug(loss.name): loss.name for loss in study().fields[0].losses}
    trained = tuple(" / ".join(f"{100 * run['trained'][name]:.1f}" for name in ("R@1", METRIC)) for run in runs)
    rows = [
        (first["processing"], *(_processed(run["processed"][place]) for run in runs))
        for place, first in enumerate(runs[0]["processed"])
    ]
    return ("R@1 / MAP@R in %", *(names[run["loss"]] for run in runs)), [("as trained", *trained), *rows]


def _processed(found: Mapping[str, Any]) -> str:
    values, gains = zip(*(_gain(found[name]) for name in ("R@1", METRIC)), strict=True)
    return f"{' / '.join(values)} ({', '.join(gains)})"


def _gain(found: Mapping[str, float]) -> tuple[str, str]:
    """Return a metric and its gain with the interval over classes."""
    # A sum with 0 turns -0.0 into 0.0.
    gain, low, high = (round(100 * found[name], 1) + 0.0 for name in ("gain", "low", "high"))
    return f"{100 * found['value']:.1f}", f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"


def cub_repetition_rows() -> list[tuple[str, ...]]:
    """Return a row for each benchmark of the study that was made twice, on two processors."""
    return [
        (
            row["benchmark"],
            str(row["losses"]),
            str(row["seeds"]),
            f"{row['spearman']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['median_apart']:.5f}",
            f"{row['farthest_apart']:+.2f} ({row['farthest']})",
            " and ".join(f"{value:+.2f}" for value in row["circle_above_triplet"]),
        )
        for row in read("cub_repetition.json")["benchmarks"]
    ]


def cub_finetuned_rows() -> list[tuple[str, ...]]:
    """Return a row for each loss of the fine-tuned study, best first, with the seeds that are finished."""
    runs = _finetuned(FINETUNED)
    frozen = {slug(loss.name): loss for loss in study().fields[0].losses}
    rows = []
    for name in _losses_best_first(runs):
        spread = _deviation([run[METRIC] for run in runs if run["loss"] == name])
        row = (frozen[name].name, *_summary(runs, name), spread, _above_triplet(runs, name))
        rows.append((*row, _mean(frozen[name].metric(METRIC).over_seeds)))
    pretrained = ("*pretrained backbone*", "", *_pretrained(FINETUNED_AUXILIARY), "", "", "")
    return [*rows, pretrained, ("*before training*", "", *_before(runs), "", "", "")]


def cub_finetuned_other_rows() -> list[tuple[str, ...]]:
    """Return a row for each loss that fine-tuned the network beside the auxiliary loss, or on the half of CARS196."""
    alone, auxiliary, cars = (_finetuned(name) for name in (FINETUNED, FINETUNED_AUXILIARY, FINETUNED_CARS))
    names = {slug(loss.name): loss.name for loss in study().fields[0].losses}
    return [
        (
            names[loss],
            *_summary(auxiliary, loss),
            _difference(auxiliary, alone, loss, loss),
            *_summary(cars, loss),
            _above_triplet(cars, loss),
        )
        for loss in _losses_best_first(alone)
    ] + [
        ("*pretrained backbone*", "", *_pretrained(FINETUNED_AUXILIARY), "", "", *_pretrained(FINETUNED_CARS), ""),
        ("*before training*", "", *_before(auxiliary), "", "", *_before(cars), ""),
    ]


def cub_finetuned_tuning_rows() -> list[tuple[str, ...]]:
    """Return a row for each setting that was tried on folds with the whole network trained."""
    rows = []
    for tuned in read("cub_finetuned.json")["tuning"]:
        most = max(len(trial["folds"]) for trial in tuned["trials"])
        for number, trial in enumerate(tuned["trials"]):
            settings = ", ".join(f"{name} {value:.2g}" for name, value in trial["params"].items())
            folds = ", ".join(f"{100 * value:.1f}" for value in trial["folds"])
            # The mean over some folds is not comparable with that over all of them.
            mean = f"{100 * statistics.mean(trial['folds']):.2f}" if len(trial["folds"]) == most else ""
            rows.append((f"{tuned['loss']} {number}", settings, folds, mean, _fate_of_trial(trial, tuned)))
    return rows


def _fate_of_trial(trial: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    most = max(len(other["folds"]) for other in tuned["trials"])
    if len(trial["folds"]) < most:
        return f"given up after fold {len(trial['folds'])}"
    complete = [other for other in tuned["trials"] if len(other["folds"]) == most]
    if trial is not max(complete, key=lambda other: statistics.mean(other["folds"])):
        return ""
    # Tuning that was not finished has chosen nothing.
    left = tuned["planned"] - len(tuned["trials"])
    return f"best so far, {left} of {tuned['planned']} not tried" if left else "chosen"


def _finetuned(benchmark: str) -> list[dict[str, Any]]:
    return [run for run in read("cub_finetuned.json")["runs"] if run["benchmark"] == benchmark]


def _losses_best_first(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    means = {
        name: statistics.mean(run[METRIC] for run in runs if run["loss"] == name)
        for name in sorted({run["loss"] for run in runs})
    }
    return sorted(means, key=lambda name: -means[name])


def _summary(runs: Sequence[Mapping[str, Any]], name: str) -> tuple[str, str, str]:
    """Return the number of finished runs of a loss and the means of both metrics."""
    seeds = [run for run in runs if run["loss"] == name]
    if not seeds:
        return MISSING, "", ""
    recall, mean = (statistics.mean(run[metric] for run in seeds) for metric in ("R@1", METRIC))
    return str(len(seeds)), f"{100 * recall:.1f}", f"{100 * mean:.1f}"


def _before(runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return both metrics of the model before training, of the first seed."""
    if not runs:
        return "", ""
    before = runs[0]["before"]
    return f"{100 * before['R@1']:.1f}", f"{100 * before[METRIC]:.1f}"


def _pretrained(benchmark: str) -> tuple[str, str]:
    """Return both metrics of the backbone as it comes, which is the same for all runs on the same test photos."""
    found = next(run["baselines"]["pretrained backbone"] for run in _finetuned(benchmark) if "baselines" in run)
    return f"{100 * found['R@1']:.1f}", f"{100 * found[METRIC]:.1f}"


def _deviation(values: Sequence[float]) -> str:
    return f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else "one run"


def _above_triplet(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return how much better a loss is than triplet loss on the seeds that both have finished."""
    return "" if name == "triplet" else _difference(runs, runs, name, "triplet")


def _difference(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], name: str, other: str) -> str:
    """Return how much better a loss is in some runs than another one in others, on the seeds that both have finished."""
    mine = {run["seed"]: run[METRIC] for run in runs if run["loss"] == name}
    theirs = {run["seed"]: run[METRIC] for run in others if run["loss"] == other}
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return ""
    found = t_interval([100 * (mine[seed] - theirs[seed]) for seed in common])
    if found.low is None or found.high is None:
        return f"{found.mean:+.1f} (one seed)"
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def cub_finetuned_agreement_rows() -> list[tuple[str, ...]]:
    """Return a row for each benchmark with which the order of the fine-tuned losses was compared."""
    fine_tuned = {FINETUNED: "cropped CUB", FINETUNED_CARS: "CARS196 half"}
    names = {
        FINETUNED: "cropped CUB, fine-tuned",
        FINETUNED_AUXILIARY: "cropped CUB, fine-tuned, with the auxiliary loss",
    }
    return [
        (
            fine_tuned[one["benchmark"]],
            names.get(one["with"], one["with"]),
            str(one["losses"]),
            f"{one['spearman']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]",
        )
        for one in read("cub_finetuned.json")["agreements"]
        if one["benchmark"] in fine_tuned
    ]


def _rounded(text: str) -> str:
    return re.sub(r"\d+\.\d{4,}", lambda found: f"{float(found[0]):.3g}", text)


def _seeds(benchmark: BenchmarkResult) -> str:
    counts = sorted({len(loss.seeds) for loss in benchmark.losses})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _of_loss(benchmark: BenchmarkResult, name: str) -> str:
    found = [loss for loss in benchmark.losses if loss.name == name]
    return _pair(found[0]) if found else MISSING


def _pair(loss: LossResult) -> str:
    return f"{_mean(loss.metric('R@1').over_seeds)} / {_spread(loss.metric(METRIC).over_seeds)}"


def _of_baseline(benchmark: BenchmarkResult, name: str) -> str:
    found = [base for base in benchmark.baseline_results if base.name == name]
    return f"{_mean(found[0].metrics['R@1'])} / {_mean(found[0].metrics[METRIC])}" if found else MISSING


def _mean(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}"


def _spread(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return _mean(interval)
    return f"{_mean(interval)} ± {50 * (interval.high - interval.low):.2f}"
