"""The report of one run."""

import shlex
from pathlib import Path

from pairlens.analysis.training_gain import Gain, gain_headline, gain_words, paired_gain, unpaired_gain
from pairlens.comparison.reproduce import train_command
from pairlens.comparison.study import METRIC
from pairlens.evaluation.evaluate import Metric, Report
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.learning_curves import draw_learning_curves
from pairlens.experiments.loss_spec import loss_text
from pairlens.experiments.run_folder import EpochRow, Outcome, RunFolder
from pairlens.plotting.style import Picture
from pairlens.report.page import Block, CodeBlock, FigureBlock, Page, Paragraph, Section, Table
from pairlens.report.sections import (
    losses_section,
    made,
    model_sections,
    number,
    record,
    settings_table,
    versions_section,
)


def run_page(run: Path, scratch: Path, data_path: Path | None = None) -> tuple[Page, str]:
    """Return the page of a run, and why what needs its photos is missing ("" if it is not).

    Args:
        run: its folder.
        scratch: where pictures are drawn; the page is complete only while they are there.
        data_path: where the data set lies now, if it has moved.

    Raises:
        ValueError: if the folder is no run, or no epoch is finished.
    """
    place = RunFolder(run)
    experiment, outcome = place.experiment(), place.read_outcome()
    missing, lead, pictures = "", [], []
    gain: Gain | None = None
    try:
        lead, pictures = model_sections(run, scratch, data_path)
        gain = paired_gain(place.open(data_path), METRIC)
    except (ValueError, FileNotFoundError) as error:
        missing = str(error)
    gain = gain or unpaired_gain(outcome, METRIC)
    name = loss_text(experiment.loss).partition(":")[0]
    report = outcome.report
    page = Page(
        kind=f"report of the run {run.resolve().name}",
        title=_headline(outcome, gain, name) + ".",
        verdict=_words(outcome, gain, experiment.seed, missing),
        facts=(
            ("data", f"{experiment.data_name}: {report.queries} queries of {report.classes} unseen classes"),
            ("model", f"{experiment.backbone_type}, {experiment.gd_config}, {experiment.feature_dim} dimensions"),
            ("loss", loss_text(experiment.loss)),
            ("kept", outcome.selection),
        ),
        lead=lead,
        sections=[
            Section("Retrieval", [_result_table(outcome)]),
            Section("Training", _training(outcome, scratch)),
            *pictures,
            losses_section([(name, experiment.loss)], scratch),
            _configuration(experiment),
            _commands(experiment, run),
            versions_section(),
        ],
        made=made(),
    )
    return page, missing


def _headline(outcome: Outcome, gain: Gain, loss: str) -> str:
    classes = outcome.report.classes
    if outcome.epoch == 0:
        return (
            f"Nothing was trained: the model as it came has {100 * gain.after:.1f} % {gain.metric} on {classes} classes"
        )
    return gain_headline(gain, loss, classes)


def _words(outcome: Outcome, gain: Gain, seed: int, missing: str) -> list[str]:
    words = [] if outcome.epoch == 0 else [gain_words(gain, seed)]
    if outcome.select == "test":
        words.append("The epoch was selected on the test set, so these figures are optimistic.")
    if missing:
        words.append(f"What needs the photos is left out: {missing}.")
    return words


def _result_table(outcome: Outcome) -> Table:
    report = outcome.report
    rows = [
        (after.name, _share(before), _share(after), f"{100 * (after.value - before.value):+.1f}")
        for before, after in zip(outcome.untrained.metrics, report.metrics, strict=True)
    ]
    left_out = f" {report.left_out} queries without a right item are left out." if report.left_out else ""
    note = (
        f"{report.queries} queries against {report.gallery} photos; in brackets: 95 % when the classes are drawn anew."
    )
    caption = "Retrieval of classes never seen in training, in percent"
    return Table(caption, ("metric", "untrained", "trained", "difference"), rows, frozenset({METRIC}), note + left_out)


def _share(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def _training(outcome: Outcome, scratch: Path) -> list[Block]:
    file = scratch / "curves.svg"
    draw_learning_curves(outcome, "", file)
    last = outcome.rows[-1]
    alt = f"Three panels over the epochs; after epoch {last.epoch}: {METRIC} {100 * last.report[METRIC]:.1f} %"
    caption = (
        "Mean training loss, retrieval of unseen classes (band: 95 % over classes), and mean cosines of test pairs."
    )
    first = last.report.metrics[0].name
    names = dict.fromkeys((first, "R-Precision", METRIC))
    shown = [name for name in names if any(m.name == name for m in last.report.metrics)]
    head = ("epoch", "loss", "accuracy %", *(f"{name} %" for name in shown), "mean s_p", "mean s_n", "seconds")
    rows = [_epoch(row, shown) for row in outcome.rows]
    kept = frozenset({str(outcome.epoch)})
    return [
        FigureBlock(Picture(file, caption, alt)),
        Table("Every epoch", head, rows, kept, "Epoch 0 is the untrained model; bold: the kept epoch."),
    ]


def _epoch(row: EpochRow, shown: list[str]) -> tuple[str, ...]:
    accuracy = None if row.train_accuracy is None else 100 * row.train_accuracy
    found = [_percent(row.report, name) for name in shown]
    means = [number(mean) for mean in (row.mean_s_p, row.mean_s_n)]
    return (str(row.epoch), number(row.train_loss), number(accuracy), *found, *means, f"{row.seconds:.0f}")


def _percent(report: Report, name: str) -> str:
    return f"{100 * report[name]:.2f}"


def _configuration(experiment: Experiment) -> Section:
    blocks = [
        Paragraph(f"The loss is {loss_text(experiment.loss)}; photos are compared with: {experiment.source}."),
        settings_table(experiment, "Settings that differ from the defaults"),
        record(experiment, "The complete record, as in config.json"),
    ]
    return Section("Configuration", blocks)


def _commands(experiment: Experiment, run: Path) -> Section:
    again = train_command(experiment, run)
    folder = shlex.quote(str(run))
    first: Block = Paragraph("Its loss is a function of Python: train it again with pairlens.run.")
    return Section(
        "Commands",
        [
            first if again is None else CodeBlock("Train it again", again),
            CodeBlock("Look up a photo", f"pairlens query {folder} --query_img_name FILE"),
            CodeBlock("Measure it again", f"pairlens evaluate {folder}"),
            CodeBlock("Write this page again", f"pairlens report {folder}"),
        ],
    )
