"""Parts that the report of a run and that of a comparison share: the loss, a model's pictures, versions."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pairlens.analysis.audit import audit
from pairlens.analysis.explain import explain
from pairlens.analysis.failure_sheets import write_pictures_of
from pairlens.analysis.inspection import Inspection, inspect_run
from pairlens.analysis.loss_figures import draw_explanations
from pairlens.comparison.reproduce import differing, plain_text
from pairlens.comparison.study import slug
from pairlens.core.records import to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.losses.protocols import Wrapped, is_embedding_loss
from pairlens.plotting.style import Picture
from pairlens.report.page import Block, CodeBlock, FigureBlock, Paragraph, Section, Table

PACKAGES = ("pairlens", "torch", "timm", "numpy", "scipy", "faiss-cpu", "matplotlib", "pillow")
# Fewer than pairlens explain draws: a comparison of many losses is to be on paper within a minute.
PLANE_POINTS = 41


def draw_planes(losses: Sequence[tuple[str, Any]], file: Path) -> Picture | None:
    """Draw the similarity planes of the losses that are functions of pairs, on one sheet; None if none is."""
    drawable = [(name, loss) for name, loss in losses if not is_embedding_loss(loss)]
    if not drawable:
        return None
    draw_explanations([explain(loss, name=name, points=PLANE_POINTS) for name, loss in drawable], file)
    names = ", ".join(name for name, _ in drawable)
    return Picture(
        file,
        "What each loss does to a positive pair of similarity s_p and a negative one of s_n: its value as contours, how "
        "hard it pulls and pushes (one colour scale for all rows), where gradient descent leads from a grid of starts, "
        "and the weight of one pair within a batch.",
        f"A row a loss ({names}), six panels each; the numbers are in the CSV files of pairlens explain.",
    )


def losses_section(losses: Sequence[tuple[str, Any]], folder: Path, level: int = 2, stem: str = "plane") -> Section:
    """Return what losses are: their similarity planes, and what the audit found of each."""
    drawn = draw_planes(losses, folder / f"{slug(stem)}.svg")
    title = "The loss by itself" if len(losses) == 1 else "The losses by themselves"
    folded = len(losses) > 1
    audits = [_audited(name, loss, folded) for name, loss in losses]
    return Section(title, [*([FigureBlock(drawn)] if drawn else []), *audits], level)


def _audited(name: str, loss: Any, folded: bool) -> Block:
    if isinstance(loss, Wrapped) and loss == Wrapped(loss.name):
        return Paragraph(f"{name}: a function of Python, which is not stored; audit it with pairlens audit.")
    found = audit(loss.function if isinstance(loss, Wrapped) else loss, name)
    rows = [(f.check, f.verdict, f.evidence) for f in found.findings]
    failed = len(found.failed)
    known = f", {found.diagnosis.name}" if found.diagnosis else ""
    said = "nothing failed" if not failed else f"{failed} failed ({', '.join(found.failed)})"
    head = ("check", "verdict", "evidence")
    return Table(f"Audit of {name}: {said}{known}", head, rows, words=True, folded=folded)


def with_first(section: Section, blocks: Sequence[Block]) -> Section:
    """Return a section that opens with these blocks."""
    return Section(section.title, [*blocks, *section.blocks], section.level)


def model_sections(
    run: Path, folder: Path, data_path: Path | None, level: int = 2
) -> tuple[list[Block], list[Section]]:
    """Return the map of a run's model to open with, and what else there is to see: shape, epochs, mistakes.

    Raises:
        ValueError: if there are no pairs to look at, or the photos were prepared anew since.
        FileNotFoundError: if the data set is not there.
    """
    found = inspect_run(run, data_path)
    drawn, _ = write_pictures_of(found, run, folder, data_path)
    by_name = {picture.file.stem: picture for picture in drawn}
    lead: list[Block] = [FigureBlock(by_name["map"], 5, whole=True)] if "map" in by_name else []
    shape: list[Block] = [FigureBlock(by_name[name]) for name in ("similarities", "analysis") if name in by_name]
    titles = {"worst_queries": "Worst queries", "confused_classes": "Most confused classes", "hubs": "Hub photos"}
    sheets = [Section(t, [FigureBlock(by_name[n], 4 - i)], level + 1) for i, (n, t) in enumerate(titles.items())]
    intro = Paragraph(
        "Photos of classes that the model has never seen, and where it goes wrong. Borders are told in words as well."
    )
    return lead, [
        Section("The shape of the space", [*shape, _shape_table(found)], level),
        Section("Where it goes wrong", [intro], level),
        *sheets,
    ]


def _shape_table(found: Inspection) -> Table:
    rows = [(name, *map(number, values)) for name, *values in found.rows()]
    note = "At most 3000 photos of each, as the test sees them. docs/analysis.md says what each number is."
    if found.gradient_cosine is not None:
        note += (
            f" Cosine of the gradients of ranking and auxiliary loss in the kept epoch: {found.gradient_cosine:.3f}."
        )
    return Table("The shape of seen and unseen classes", ("number", "seen classes", "unseen classes"), rows, note=note)


def number(value: float | int | None) -> str:
    """Write a number of a table, a dash for what is not known.

    >>> number(12), number(0.123456), number(None)
    ('12', '0.1235', '–')
    """
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"


def settings_table(experiment: Experiment, caption: str) -> Table:
    """Return what differs from the defaults, a row an option."""
    rows = [(f"--{name}", plain_text(value)) for name, value in differing(experiment).items()]
    note = "" if rows else "Everything is the default."
    return Table(caption, ("option", "value"), rows, note=note, words=True)


def record(value: Any, caption: str) -> CodeBlock:
    """Return a record in full, folded."""
    return CodeBlock(caption, json.dumps(to_plain(value), indent=2), folded=True)


def versions_section() -> Section:
    """Return with what this page was made."""
    rows = [("python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows += [("platform", platform.platform()), ("CPU cores", str(os.cpu_count()))]
    rows += [("threads of torch", str(torch.get_num_threads())), ("GPU", device)]
    note = "Of the machine that wrote this page; a run does not record on what it was trained."
    return Section("Versions", [Table("Versions and machine", ("what", "version"), rows, note=note, words=True)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def made() -> str:
    """Return by what and when a page was made."""
    return f"Written by Pairlens {_version('pairlens')} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. No network is used."
