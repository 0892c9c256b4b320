"""The report of a comparison: which loss retrieves best, how sure that is, and what its model retrieves."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pairlens.comparison.agreement_figure import AGREEMENT_FILE, draw_rank_agreement
from pairlens.comparison.figures import FIGURES, MOST_NAMED
from pairlens.comparison.findings_tables import findings_tables
from pairlens.comparison.findings_verdict import findings_sentences
from pairlens.comparison.rank_agreement import RankedLosses
from pairlens.comparison.reproduce import study_text
from pairlens.comparison.results import BenchmarkResult, LossResult, Results
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Benchmark, slug
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tuning import best_trial, read_trials
from pairlens.comparison.verdicts import headline, headline_of_all, pair_verdict, verdict, without_result
from pairlens.core.import_rules import is_trusted
from pairlens.core.table import Table
from pairlens.evaluation.evaluate import counted_classes
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.loss_text import third_party_names
from pairlens.losses.protocols import obstacle_of
from pairlens.report.page import Block, CodeBlock, FigureBlock, Page, Paragraph, Section, TableBlock
from pairlens.report.result_table import result_tables
from pairlens.report.sections import (
    MOST_PLANES,
    PLANES_OF_MANY,
    losses_section,
    metric_meanings,
    model_sections,
    origin,
    points,
    record,
    rounded,
    settings_table,
    versions_section,
)

# Above these numbers of rows a table of pairs is cut, or is shown only on demand.
MAX_PAIRS, MAX_UNFOLDED_PAIRS = 45, 10


@dataclass(frozen=True)
class BenchmarkPart:
    """What the page says about one benchmark.

    Attributes:
        lead: the figure and the table with which the page, or its part about this benchmark, begins.
        sections: everything else, in order.
        missing: why the parts that need the photos are missing; empty if they are not.
    """

    lead: Sequence[Block]
    sections: Sequence[Section]
    missing: str = field(default="")


def comparison_page(
    folder: Path, scratch: Path, data_path: Path | None = None, trust: Collection[str] = ()
) -> tuple[Page, str]:
    """Return the page of a comparison, and why the parts that need photos are missing ("" if they are not).

    Args:
        folder: the comparison.
        scratch: where figures are drawn; the page needs them until it is rendered.
        data_path: where the data sets are now, if they have moved.
        trust: modules that may be imported to find a loss of another project.

    Raises:
        ValueError: if the folder is not the folder of a comparison, or no run in it is finished.
    """
    measured = measure(folder)
    results = list(measured.fields)
    plan = Plan(read_study(folder, trust), folder)
    benchmarks = {benchmark.name: benchmark for benchmark in plan.study.fields}
    several = len(results) > 1
    level = 3 if several else 2
    losses = _losses_sections(plan, results, scratch, trust, level)
    parts = [
        _part(plan, benchmarks[result.name], result, section, scratch, data_path, level)
        for result, section in zip(results, losses, strict=True)
    ]
    # Several benchmarks often lack the same data set; the reason is given once.
    missing = list(dict.fromkeys(part.missing for part in parts if part.missing))
    headlines = [headline(result) for result in results]
    sentences = [f"{text}." for text in headlines] if several else [verdict(results[0])]
    names = dict.fromkeys(metric.name for result in results for loss in result.losses for metric in loss.metrics)
    findings = _findings(measured, scratch)
    left_out = [f"The parts that need the photos are left out: {why}." for why in missing]
    page = Page(
        kind=f"report of the comparison {folder.resolve().name}",
        title=(headline_of_all(results) if several else headlines[0]) + ".",
        verdict=[*sentences, *without_result(measured), *left_out],
        facts=_facts(plan, results),
        lead=[*([] if several else parts[0].lead), metric_meanings(names)],
        # What several benchmarks have in common comes before each of them.
        sections=[
            *(findings if several else []),
            *_sections_of_benchmarks(results, parts),
            *([] if several else findings),
            _study_section(plan),
            _commands(plan, results[0].losses[0]),
            versions_section(),
        ],
        origin=origin(),
    )
    return page, " ".join(missing)


def _sections_of_benchmarks(results: Sequence[BenchmarkResult], parts: Sequence[BenchmarkPart]) -> list[Section]:
    sections: list[Section] = []
    for result, part in zip(results, parts, strict=True):
        # With several benchmarks each has a main section, which opens with its own figure and table.
        opening = [Section(result.name, [Paragraph(verdict(result)), *part.lead])] if len(results) > 1 else []
        sections += [*opening, *part.sections]
    return sections


def _findings(measured: Results, folder: Path) -> list[Section]:
    """Return the section about the study as a whole; none if there is nothing to say."""
    ranked = [RankedLosses.of(result) for result in measured.fields]
    picture = draw_rank_agreement(ranked, folder / AGREEMENT_FILE)
    metric = measured.fields[0].metric
    blocks: list[Block] = [Paragraph(text) for text in findings_sentences(measured.findings, metric)]
    blocks += [] if picture is None else [FigureBlock(picture)]
    tables = findings_tables(measured.findings, metric)
    blocks += [TableBlock(table, folded=len(table.rows) > MAX_UNFOLDED_PAIRS) for table in tables]
    return [Section("The study as a whole", blocks)] if blocks else []


def _facts(plan: Plan, results: Sequence[BenchmarkResult]) -> list[tuple[str, str]]:
    tuning = f"{plan.study.tune} settings per loss, on {plan.study.folds} folds of the training classes"
    tuning += ", of which the better half goes on after each fold" if plan.study.halving else ""
    data = "; ".join(
        f"{r.name}: {r.queries} queries of {counted_classes(r.classes, r.seen_classes, r.one_class)}" for r in results
    )
    return [
        ("losses", str(len(plan.study.arms))),
        ("seeds per loss", ", ".join(dict.fromkeys(str(benchmark.seeds) for benchmark in plan.study.fields))),
        ("ranked by", plan.study.metric),
        ("test data", data),
        ("tuning", tuning if plan.study.tune else "none"),
    ]


def _part(
    plan: Plan,
    benchmark: Benchmark,
    result: BenchmarkResult,
    losses: Section,
    scratch: Path,
    data_path: Path | None,
    level: int,
) -> BenchmarkPart:
    folder = scratch / slug(benchmark.name)
    best = result.losses[0]
    model: list[Section] = []
    missing = ""
    try:
        # One model stands for all: the best loss with its first seed.
        seen = model_sections(plan.folder / best.runs[0], folder, data_path, level)
        model = [seen.typical, *seen.failures, seen.shape]
    except (ValueError, FileNotFoundError) as error:
        # The numbers of a comparison are stored with it, so the page is written without its photos too.
        missing = str(error)
    # The photos are of one model, so the headings say which.
    of = f": {best.name}, seed {best.seeds[0]}"
    model = [replace(section, title=section.title + of) if section.level == level else section for section in model]
    tables = result_tables(result)
    lead: list[Block] = [FigureBlock(FIGURES["ranks"](result, folder / "ranks.svg")), TableBlock(tables.short)]
    lead += [] if tables.post is None else [TableBlock(tables.post)]
    sections = [
        *model,
        _details(result, tables.complete, folder, level),
        Section("Learning curves", [FigureBlock(FIGURES["curves"](result, folder / "curves.svg"))], level),
        Section("Accuracy against cost", [FigureBlock(FIGURES["costs"](result, folder / "costs.svg"))], level),
        losses,
        *_tuning(plan, benchmark, level),
    ]
    return BenchmarkPart(lead, sections, missing)


def _losses_sections(
    plan: Plan, results: Sequence[BenchmarkResult], scratch: Path, trust: Collection[str], level: int
) -> list[Section]:
    """Return the section about the losses by themselves of each benchmark, which are described once if they are the same."""
    described = [frozenset((loss.name, loss.loss) for loss in result.losses) for result in results]
    # A benchmark may lack runs of some losses: the first one that has all losses of another describes them.
    owners = [results[next(i for i, whole in enumerate(described) if whole >= some)].name for some in described]
    are_many = max(len(result.losses) for result in results) > MOST_NAMED
    most = max(1, (PLANES_OF_MANY if are_many else MOST_PLANES) // len(set(owners)))
    sections = []
    for result, owner in zip(results, owners, strict=True):
        if owner == result.name:
            losses = [(loss.name, _loss_of(plan, loss, trust)) for loss in result.losses]
            sections.append(losses_section(losses, scratch / slug(result.name), level, most=most))
        else:
            same = Paragraph(f"The losses have the same settings as in {owner}, where they are described.")
            sections.append(Section("The losses by themselves", [same], level))
    return sections


def _loss_of(plan: Plan, result: LossResult, trust: Collection[str]) -> Any:
    """Return a loss as it was trained; of another project, with its code only if its module is trusted."""
    loss = RunFolder(plan.folder / result.runs[0]).experiment(trust=trust).loss
    arm = next(arm for arm in plan.study.arms if arm.name == result.name)
    # The runs of version 0.1 do not store the text of a function that was wrapped; the study does.
    trusted = all(is_trusted(name, trust) for name in third_party_names(arm.loss))
    return arm.make() if obstacle_of(loss) and trusted else loss


def _details(result: BenchmarkResult, complete: Sequence[Table], folder: Path, level: int) -> Section:
    blocks: list[Block] = []
    if result.differences:
        # Two losses have one difference, which is a sentence; a matrix of it would show nothing more.
        blocks.append(TableBlock(_pair_table(result), folded=len(result.differences) > MAX_UNFOLDED_PAIRS))
    if len(result.losses) > 2:
        blocks.append(FigureBlock(FIGURES["differences"](result, folder / "differences.svg"), importance=0))
    return Section("Losses compared", [*blocks, *map(TableBlock, complete), TableBlock(_loss_table(result))], level)


def _loss_table(result: BenchmarkResult) -> Table:
    rows = [
        (loss.name, rounded(loss.loss), loss.settings or "as given", "; ".join(loss.failed) or "none")
        for loss in result.losses
    ]
    rows += [(one.name, "", "", "; ".join(one.messages)) for one in result.failed_losses]
    note = "Numbers have four digits here; study.json and the trials hold all digits."
    return Table("The losses in full", ("name", "loss", "learning rates", "failed runs"), rows, (note,), textual=True)


def _pair_table(result: BenchmarkResult) -> Table:
    names = [loss.name for loss in result.losses]
    compared = {frozenset((d.first, d.second)) for d in result.differences}
    pairs = [pair for pair in combinations(names, 2) if frozenset(pair) in compared]
    # Many losses have too many pairs to read; those of the best losses come first, and the CSV file has the others.
    notes = () if len(pairs) <= MAX_PAIRS else (f"The first {MAX_PAIRS} of {len(pairs)}; differences.csv has all.",)
    rows = [_pair_row(result, *pair) for pair in pairs[:MAX_PAIRS]]
    level = f"{100 * result.level:.3g} %"
    header = ("pair", f"points of {result.metric}", f"{level} over seeds", f"{level} over classes", "verdict")
    return Table("Paired differences", header, rows, notes, textual=True)


def _pair_row(result: BenchmarkResult, first: str, second: str) -> tuple[str, ...]:
    d = result.difference(first, second)
    # One seed has no interval over seeds.
    low, high = d.over_seeds.low, d.over_seeds.high
    over_seeds = "one seed" if low is None or high is None else f"{points(low)} to {points(high)}"
    over_classes = f"{points(d.class_low)} to {points(d.class_high)}"
    pair = f"{d.first} − {d.second}"
    return (pair, points(d.over_seeds.mean), over_seeds, over_classes, pair_verdict(result, first, second))


def _tuning(plan: Plan, benchmark: Benchmark, level: int) -> list[Section]:
    if not plan.study.tune:
        return []
    if plan.owner(benchmark).name != benchmark.name:
        text = f"The settings tuned in {benchmark.tuned_in} are used here as well."
        return [Section("Tuning", [Paragraph(text)], level)]
    rows, chosen = [], set()
    for arm in plan.study.arms:
        # More trials may be stored, from a study with a larger --tune in the same folder.
        trials = read_trials(plan.tuning_folder(benchmark, arm))[: plan.study.tune]
        best = best_trial(trials, plan.study.folds) if trials else None
        for trial in trials:
            name = f"{arm.name} {trial.number}"
            settings = ", ".join(f"{key} {value:.3g}" for key, value in trial.params.items())
            folds = ", ".join(f"{100 * value:.1f}" for value in trial.folds)
            rows.append((name, settings, folds, f"{100 * trial.value:.1f}", "chosen" if trial is best else ""))
            if trial is best:
                chosen.add(name)
    header = ("trial", "settings", f"{plan.study.metric} % on each fold", "mean", "")
    note = "Trial 0 is the loss with the settings that were given. Only training classes are used."
    note += " A trial with fewer folds was given up, and is not chosen." if plan.study.halving else ""
    table = Table("Trials of the tuning, and the chosen ones", header, rows, (note,), frozenset(chosen), textual=True)
    return [Section("Tuning", [TableBlock(table, folded=len(rows) > MAX_UNFOLDED_PAIRS)], level)]


def _study_section(plan: Plan) -> Section:
    tables = [
        settings_table(benchmark.settings, f"Settings of {benchmark.name} that differ from the defaults")
        for benchmark in plan.study.fields
    ]
    return Section("Configuration", [*tables, record(plan.study, "The complete study, as in study.json")])


def _commands(plan: Plan, best: LossResult) -> Section:
    folder = shlex.quote(str(plan.folder))
    trust = " --trust_study" if plan.study.names_code else ""
    query = f"pairlens query {shlex.quote(str(plan.folder / best.runs[0]))} --query_img_name FILE"
    return Section(
        "Commands",
        [
            CodeBlock("The study as a file, study.toml", study_text(plan.study)),
            CodeBlock("Run it again in a new folder", f"pairlens compare study.toml --out runs/again{trust}"),
            CodeBlock("Resume it, or compute its results again", f"pairlens compare --resume {folder}{trust}"),
            CodeBlock("Look up a photo with one of its models", query),
            CodeBlock("Write this page again", f"pairlens report {folder}"),
        ],
    )
