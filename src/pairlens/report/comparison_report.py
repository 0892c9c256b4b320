"""The report of a comparison."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pairlens.comparison.figures import FIGURES
from pairlens.comparison.reproduce import study_text
from pairlens.comparison.results import BenchmarkResult, LossResult
from pairlens.comparison.run_study import Plan
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Benchmark, read_study, slug
from pairlens.comparison.tables import NOTE, header, rows, stands_out
from pairlens.comparison.tuning import read_trials
from pairlens.comparison.verdicts import headline, headline_of_all, pair_verdict, verdict
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.protocols import Wrapped
from pairlens.report.page import Block, CodeBlock, FigureBlock, Page, Paragraph, Section, Table
from pairlens.report.sections import (
    losses_section,
    made,
    model_sections,
    record,
    settings_table,
    versions_section,
    with_first,
)

MOST_PAIRS, UNFOLDED = 45, 10
SHAPE = "The shape of the space"
ROUNDED = "Four digits of each number; study.json and the trials have all."


def comparison_page(folder: Path, scratch: Path, data_path: Path | None = None) -> tuple[Page, str]:
    """Return the page of a comparison, and why pictures of models are missing ("" if they are not).

    Args:
        folder: the comparison.
        scratch: where pictures are drawn; the page is complete only while they are there.
        data_path: where the data sets lie now, if they have moved.

    Raises:
        ValueError: if the folder is no comparison, or nothing in it is finished.
    """
    results = measure(folder)
    plan = Plan(read_study(folder), folder)
    fields = {field.name: field for field in plan.study.fields}
    several, missing = len(results.fields) > 1, []
    sections: list[Section] = []
    leads: list[Block] = []
    for found in results.fields:
        own, lead, why = _field_sections(plan, fields[found.name], found, scratch, data_path, several)
        # The page opens with the first map; those of other fields open what is said of their models.
        opens = not leads
        sections += own if opens else [with_first(x, lead) if x.title.startswith(SHAPE) else x for x in own]
        leads += lead if opens else []
        missing += [why] if why else []
    drawn = [FIGURES["ranks"](f, scratch / f"{slug(f.name)}-ranks.svg") for f in results.fields]
    opening: list[Block] = [*map(FigureBlock, drawn), *leads]
    heads = [headline(found) for found in results.fields]
    title = headline_of_all(results.fields) if several else heads[0]
    said = [f"{h}." for h in heads] if several else [verdict(results.fields[0])]
    page = Page(
        kind=f"report of the comparison {folder.resolve().name}",
        title=title + ".",
        verdict=[*said, *(f"What needs the photos is left out: {why}." for why in dict.fromkeys(missing))],
        facts=_facts(plan, results.fields),
        lead=opening,
        sections=[*sections, _study_section(plan), _commands(plan), versions_section()],
        made=made(),
    )
    return page, " ".join(dict.fromkeys(missing))


def _facts(plan: Plan, found: Sequence[BenchmarkResult]) -> list[tuple[str, str]]:
    tuning = f"{plan.study.tune} settings a loss, on {plan.study.folds} folds of the training classes"
    return [
        ("losses", str(len(plan.study.arms))),
        ("seeds", ", ".join(dict.fromkeys(str(f.seeds) for f in plan.study.fields))),
        ("ranked by", plan.study.metric),
        ("tests", "; ".join(f"{f.name}: {f.queries} queries of {f.classes} unseen classes" for f in found)),
        ("tuning", tuning if plan.study.tune else "none"),
    ]


def _field_sections(
    plan: Plan, field: Benchmark, found: BenchmarkResult, scratch: Path, data_path: Path | None, several: bool
) -> tuple[list[Section], list[Block], str]:
    place, level = scratch / slug(field.name), 3 if several else 2
    losses = [(loss.name, _loss(plan, loss)) for loss in found.losses]
    best = found.losses[0]
    lead, pictures, why = [], [], ""
    try:
        lead, pictures = model_sections(plan.folder / best.runs[0], place, data_path, level)
    except (ValueError, FileNotFoundError) as error:
        why = str(error)
    of = f": {best.name}, seed {best.seeds[0]}" + (f", {field.name}" if several else "")
    lead = [_named(block, of) for block in lead]
    pictures = [replace(s, title=s.title + of) if s.level == level else s for s in pictures]
    sections = [
        Section("Losses compared", [*_tables(found)], level),
        *_figures(found, place, level),
        *pictures,
        losses_section(losses, place, level),
        *_tuning(plan, field, level),
    ]
    head = [Section(field.name, [Paragraph(verdict(found))])] if several else []
    return [*head, *sections], lead, why


def _named(block: Block, of: str) -> Block:
    if not isinstance(block, FigureBlock):
        return block
    caption = f"The representation space{of}. {block.picture.caption}"
    return replace(block, picture=replace(block.picture, caption=caption))


def _loss(plan: Plan, found: LossResult) -> Any:
    """Return a loss as it was trained; a function of Python, which runs do not store, from the study."""
    loss = RunFolder(plan.folder / found.runs[0]).experiment().loss
    if not isinstance(loss, Wrapped):
        return loss
    return next(arm for arm in plan.study.arms if arm.name == found.name).make()


def _tables(found: BenchmarkResult) -> list[Block]:
    strong = frozenset(loss.name for loss in found.losses if stands_out(found, loss))
    # What ranks the losses comes first, for it must not be out of sight on a narrow screen.
    head = header(found)
    first = [head.index(found.metric), head.index(f"{found.metric} over classes")]
    order = [0, *first, *(column for column in range(1, len(head)) if column not in first)]
    names, *table = [[row[column] for column in order] for row in (head, *rows(found))]
    note = NOTE.format(metric=found.metric)
    blocks: list[Block] = [Table(f"Losses on {found.name}, best first", names, table, strong, note)]
    settings = [
        (x.name, rounded(x.loss), x.settings or "as given", "; ".join(x.failed) or "none") for x in found.losses
    ]
    blocks.append(
        Table("The losses in full", ("name", "loss", "rates", "failed runs"), settings, note=ROUNDED, words=True)
    )
    if found.differences:
        blocks.append(_pairs(found))
    return blocks


def _pairs(found: BenchmarkResult) -> Table:
    names = [loss.name for loss in found.losses]
    known = {frozenset((d.first, d.second)) for d in found.differences}
    pairs = [pair for pair in combinations(names, 2) if frozenset(pair) in known]
    # Beyond some losses the sentences are too many to read; the best one's come first, the figure has the others.
    note = "" if len(pairs) <= MOST_PAIRS else f"The first {MOST_PAIRS} of {len(pairs)}; differences.csv has all."
    table = []
    for pair in pairs[:MOST_PAIRS]:
        d = found.difference(*pair)
        over = "one seed" if d.over_seeds.low is None else _ends(d.over_seeds.low, d.over_seeds.high)
        mean = f"{100 * d.over_seeds.mean:+.1f}"
        said = pair_verdict(found, *pair)
        table.append((f"{d.first} − {d.second}", mean, over, _ends(d.class_low, d.class_high), said))
    level = f"{100 * found.level:.1f} %"
    head = ("pair", f"points of {found.metric}", f"{level} over seeds", f"{level} over classes", "verdict")
    return Table("Every two losses", head, table, note=note, words=True, folded=len(table) > UNFOLDED)


def rounded(text: str) -> str:
    """Return a loss as text with four digits of each number.

    >>> rounded("circle:margin=0.42971260824036267,gamma=80.0")
    'circle:margin=0.4297,gamma=80'
    """
    return re.sub(r"\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found.group()):.4g}", text)


def _ends(low: float, high: float | None) -> str:
    return f"{100 * low:+.1f} to {100 * (high if high is not None else low):+.1f}"


def _figures(found: BenchmarkResult, place: Path, level: int) -> list[Section]:
    titles = {"differences": "Paired differences", "curves": "Learning curves", "costs": "Accuracy against cost"}
    return [
        Section(title, [FigureBlock(FIGURES[name](found, place / f"{name}.svg"))], level)
        for name, title in titles.items()
    ]


def _tuning(plan: Plan, field: Benchmark, level: int) -> list[Section]:
    if not plan.study.tune or plan.owner(field).name != field.name:
        text = f"The settings tuned in {field.tuned_in} hold here as well."
        return [Section("Tuning", [Paragraph(text)], level)] if plan.study.tune else []
    table, chosen = [], set()
    for arm in plan.study.arms:
        trials = read_trials(plan.tuning_folder(field, arm))[: plan.study.tune]
        best = max(trials, key=lambda trial: trial.value, default=None)
        for trial in trials:
            name = f"{arm.name} {trial.number}"
            chosen |= {name} if trial is best else set()
            params = ", ".join(f"{key} {value:.3g}" for key, value in trial.params.items())
            folds = ", ".join(f"{100 * value:.1f}" for value in trial.folds)
            table.append((name, params, folds, f"{100 * trial.value:.1f}", "chosen" if trial is best else ""))
    head = ("trial", "settings", f"{plan.study.metric} % on each fold", "mean", "")
    note = "Trial 0 is the loss as it was given. Only training classes are used."
    grid = Table("What tuning tried and chose", head, table, frozenset(chosen), note, words=True)
    return [Section("Tuning", [grid], level)]


def _study_section(plan: Plan) -> Section:
    tables = [
        settings_table(field.settings, f"Settings of {field.name} that differ from the defaults, {field.seeds} seeds")
        for field in plan.study.fields
    ]
    return Section("Configuration", [*tables, record(plan.study, "The complete study, as in study.json")])


def _commands(plan: Plan) -> Section:
    folder = shlex.quote(str(plan.folder))
    return Section(
        "Commands",
        [
            CodeBlock("The study as a file, study.toml", study_text(plan.study)),
            CodeBlock("Run it again in a new folder", "pairlens compare study.toml --out runs/again"),
            CodeBlock("Go on with this one, or measure it anew", f"pairlens compare --resume {folder}"),
            CodeBlock(
                "Look up a photo with one of its models",
                f"pairlens query {folder}/runs/FIELD/LOSS/seed0 --query_img_name FILE",
            ),
            CodeBlock("Write this page again", f"pairlens report {folder}"),
        ],
    )
