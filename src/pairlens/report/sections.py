"""Sections that the reports of runs and of comparisons share: the model's photos, the losses, settings, versions."""

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pairlens.analysis.audit import audit
from pairlens.analysis.embedding_map import MIN_PHOTOS, write_map
from pairlens.analysis.explain import explain_loss
from pairlens.analysis.failure_cases import Searched
from pairlens.analysis.inspection import Inspection, inspect_run
from pairlens.analysis.loss_figures import draw_explanations
from pairlens.analysis.model_figures import draw_epochs, draw_similarities
from pairlens.analysis.statistic_meanings import SHAPE_MEANINGS
from pairlens.comparison.reproduce import differing, plain_text
from pairlens.core.records import to_plain
from pairlens.core.table import Table, decimal
from pairlens.evaluation.open_set import LEAST_CLASSES
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.protocols import is_embedding_loss, obstacle_of
from pairlens.losses.third_party import Wrapped
from pairlens.plotting.style import Picture
from pairlens.report.metric_meanings import METRIC_MEANINGS, further_meanings
from pairlens.report.page import Block, CodeBlock, FigureBlock, Paragraph, Section, TableBlock
from pairlens.report.photo_rows import confused_class_rows, hub_rows, typical_queries, worst_query_rows

PACKAGES = ("pairlens", "torch", "timm", "numpy", "scipy", "faiss-cpu", "matplotlib", "pillow")
# Fewer points than `pairlens explain` has, so that the report of many losses takes a minute and not ten.
PLANE_POINTS = 41
# Losses whose similarity planes are on a page, where 350 KB are those of one loss; fewer beside the figures of many losses.
MOST_PLANES, PLANES_OF_MANY = 8, 3


@dataclass(frozen=True)
class ModelSections:
    """What there is to see of one trained model, in the order of the page.

    Attributes:
        typical: typical queries with what they retrieve.
        failures: what goes wrong: the worst queries, confused classes, hubs.
        shape: the map of the embeddings and the statistics of their similarities.
    """

    typical: Section
    failures: Sequence[Section]
    shape: Section


def model_sections(run: Path, folder: Path, data_path: Path | None, level: int = 2) -> ModelSections:
    """Return the sections about the model of a run.

    Args:
        run: the folder of the run.
        folder: where figures are drawn.
        data_path: where the data set is now, if it has moved.
        level: of their headings.

    Raises:
        ValueError: if there are no pairs to look at, or the photos have been prepared again since the run.
        FileNotFoundError: if the data set is missing.
    """
    inspection = inspect_run(run, data_path)
    run_folder = RunFolder(run)
    searched = Searched.open(run_folder.open(data_path))
    shape = Section("Map and shape of the embeddings", _shape_blocks(inspection, searched, run_folder, folder), level)
    if not searched.queries.shows_photos:
        none = Paragraph(f"{searched.queries.file} names no photos that are there, so none can be shown.")
        return ModelSections(Section("Typical queries", [none], level), [], shape)
    return ModelSections(
        Section("Typical queries", [typical_queries(searched)], level),
        [
            Section("Where it goes wrong", [worst_query_rows(searched)], level),
            Section("Most confused classes", [confused_class_rows(searched)], level + 1),
            Section("Hub photos", [hub_rows(searched)], level + 1),
        ],
        shape,
    )


def _shape_blocks(inspection: Inspection, searched: Searched, run_folder: RunFolder, folder: Path) -> list[Block]:
    blocks: list[Block] = []
    if len(searched.queries) >= MIN_PHOTOS and searched.queries.shows_photos:
        picture, _ = write_map(searched, folder)
        blocks.append(FigureBlock(picture, importance=5))
    blocks.append(FigureBlock(draw_similarities(inspection, folder / "similarities.svg")))
    epochs = run_folder.read_outcome().rows
    # A curve needs two epochs that were measured.
    if sum(row.unseen is not None for row in epochs) > 1:
        blocks.append(FigureBlock(draw_epochs(epochs, folder / "analysis.svg")))
    return [*blocks, shape_table(inspection)]


def shape_table(inspection: Inspection) -> TableBlock:
    """Return the statistics of training and test photos, each with its name, what it says and which direction is good."""
    rows, explanations = [], {}
    for field, *values in inspection.rows():
        meaning = SHAPE_MEANINGS[field]
        rows.append((meaning.name, *map(number, values)))
        explanations[meaning.name] = " ".join(filter(None, (meaning.sentence, meaning.direction)))
    notes = ["Of at most 3000 test photos and as many training photos, processed as in the test."]
    if inspection.gradient_cosine is not None:
        notes.append(
            f"Cosine between the gradients of the pairwise and the auxiliary loss, in the selected epoch: "
            f"{inspection.gradient_cosine:.3f}."
        )
    notes += open_set_notes(inspection)
    title = "The embeddings of classes seen in training and of unseen classes"
    if inspection.seen_classes != "none":
        title = f"The embeddings of {' and of '.join(inspection.titles)}"
    table = Table(title, ("statistic", *inspection.titles), rows, notes)
    return TableBlock(table, explanations=explanations)


def open_set_notes(inspection: Inspection) -> list[str]:
    """Return a sentence about the open-set measures if they are missing."""
    missing = [title for title, found in zip(inspection.titles, inspection.open_set.values(), strict=True) if not found]
    needed = f"the open-set measures need {LEAST_CLASSES} classes with 2 photos or more"
    return [f"Not measured for {' and '.join(missing)}: {needed}."] if missing else []


def metric_meanings(names: Iterable[str]) -> TableBlock:
    """Return what the measured metrics and the intervals of a result table are, in a folded table."""
    rows = [(meaning.name, meaning.sentence) for meaning in (*METRIC_MEANINGS, *further_meanings(names))]
    return TableBlock(Table("What the numbers mean", ("number", "meaning"), rows, textual=True), folded=True)


def draw_planes(losses: Sequence[tuple[str, Any]], file: Path, most: int) -> Picture | None:
    """Draw the similarity planes of the first losses that are functions of pairs; None if there is no such loss.

    Args:
        losses: name and loss, best first.
        file: of the figure.
        most: number of losses that are drawn.
    """
    # A loss of embeddings or a function of them has no value at a single pair of similarities.
    drawable = [(name, loss) for name, loss in losses if not is_embedding_loss(loss) and not obstacle_of(loss)]
    if not drawable:
        return None
    drawn = drawable[:most]
    draw_explanations([explain_loss(loss, name=name, points=PLANE_POINTS) for name, loss in drawn], file)
    names = ", ".join(name for name, _ in drawn)
    others = " The other losses are not drawn here; pairlens explain LOSS draws any of them." if drawable[most:] else ""
    return Picture(
        file,
        "What each loss does to a positive pair of similarity s_p and a negative pair of similarity s_n: its value as "
        "contours, how hard it pulls and pushes (one colour scale for all losses), where gradient descent leads from a "
        f"grid of starting points, and the weight of one pair within a batch.{others}",
        f"Six panels per loss ({names}); the numbers are in the CSV files of pairlens explain.",
    )


def losses_section(losses: Sequence[tuple[str, Any]], folder: Path, level: int = 2, most: int = MOST_PLANES) -> Section:
    """Return what the losses are: the similarity planes of the first ones, and the results of all audits."""
    drawn = draw_planes(losses, folder / "plane.svg", most)
    title = "The loss by itself" if len(losses) == 1 else "The losses by themselves"
    # The audit of a single loss is read; of many losses, a reader opens those of interest.
    folded = len(losses) > 1
    audits = [_audit_block(name, loss, folded) for name, loss in losses]
    # Of a single loss the planes are what there is to see; those of several can be drawn by another command.
    blocks = [FigureBlock(drawn, importance=0 if folded else 1)] if drawn else []
    return Section(title, [*blocks, *audits], level)


def _audit_block(name: str, loss: Any, folded: bool) -> Block:
    if obstacle_of(loss):
        return Paragraph(f"{name} is not audited here, because {obstacle_of(loss)}.")
    try:
        result = audit(loss.function if isinstance(loss, Wrapped) else loss, name)
    except ValueError as error:
        return Paragraph(f"{name} is not audited here: {error}.")
    rows = [(finding.check, finding.verdict, finding.evidence) for finding in result.findings]
    failed = f"{len(result.failed)} failed ({', '.join(result.failed)})" if result.failed else "no check failed"
    known = f", {result.diagnosis.name}" if result.diagnosis else ""
    table = Table(f"Audit of {name}: {failed}{known}", ("check", "verdict", "evidence"), rows, textual=True)
    return TableBlock(table, folded)


def number(value: float | int | None) -> str:
    """Write a number of a table; a dash stands for an unknown value.

    >>> number(12), number(0.123456), number(None)
    ('12', '0.1235', '–')
    """
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def rounded(text: str) -> str:
    """Return the text of a loss with four digits of each number.

    >>> rounded("circle:margin=0.42971260824036267,gamma=80.0")
    'circle:margin=0.4297,gamma=80'
    """
    return re.sub(r"\d+\.\d+(e[-+]?\d+)?", lambda match: f"{float(match.group()):.4g}", text)


def points(difference: float, decimals: int = 1) -> str:
    """Write a difference of two metrics in percentage points, with its sign; there is no negative zero.

    >>> points(0.0374), points(-0.0002)
    ('+3.7', '0.0')
    """
    return decimal(100 * difference, decimals, signed=True)


def settings_table(experiment: Experiment, title: str) -> TableBlock:
    """Return the settings that differ from the defaults, one option per row."""
    rows = [(f"--{name}", plain_text(value)) for name, value in differing(experiment).items()]
    notes = () if rows else ("All settings are the defaults.",)
    return TableBlock(Table(title, ("option", "value"), rows, notes, textual=True))


def record(value: Any, title: str) -> CodeBlock:
    """Return a complete record as JSON, folded."""
    return CodeBlock(title, json.dumps(to_plain(value), indent=2), folded=True)


def versions_section() -> Section:
    """Return the versions of the software, and the machine that writes the page."""
    rows = [("python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows += [("platform", platform.platform()), ("CPU cores", str(os.cpu_count()))]
    rows += [("threads of torch", str(torch.get_num_threads())), ("GPU", gpu)]
    note = "Of the machine that wrote this page; a run does not record the machine that trained it."
    table = Table("Versions and machine", ("component", "version"), rows, (note,), textual=True)
    return Section("Versions", [TableBlock(table, folded=True)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def origin() -> str:
    """Return which program wrote the page, and when."""
    return f"Written by Pairlens {_version('pairlens')} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. No network is used."
