"""The report of one run: what training changed, what the model retrieves, how it was trained."""

import shlex
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pairlens.analysis.training_gain import Gain, gain_headline, gain_words, paired_gain, unpaired_gain
from pairlens.comparison.reproduce import train_command
from pairlens.comparison.study import METRIC
from pairlens.core.table import Table
from pairlens.evaluation.evaluate import Report, class_words, counted_classes
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.learning_curves import draw_learning_curves
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.loss_text import loss_name, loss_text
from pairlens.plotting.style import Picture
from pairlens.report.page import Block, CodeBlock, FigureBlock, Page, Paragraph, Section, TableBlock
from pairlens.report.result_table import headline_metrics, unbroken
from pairlens.report.sections import (
    ModelSections,
    losses_section,
    metric_meanings,
    model_sections,
    number,
    origin,
    points,
    record,
    rounded,
    settings_table,
    versions_section,
)

# The letters of --descriptors, written out.
DESCRIPTORS = {"S": "mean", "M": "maximum", "G": "generalised mean"}


def run_page(run: Path, scratch: Path, data_path: Path | None = None, trust: Collection[str] = ()) -> tuple[Page, str]:
    """Return the page of a run, and why the parts that need its photos are missing ("" if they are not).

    Args:
        run: its folder.
        scratch: where figures are drawn; the page needs them until it is rendered.
        data_path: where the data set is now, if it has moved.
        trust: modules that may be imported to find a loss of another project.

    Raises:
        ValueError: if the folder is not the folder of a run, or no epoch is finished.
    """
    run_folder = RunFolder(run)
    experiment = run_folder.experiment(trust=trust)
    outcome = run_folder.read_outcome()
    model: ModelSections | None = None
    gain: Gain | None = None
    missing = ""
    try:
        model = model_sections(run, scratch, data_path)
    except (ValueError, FileNotFoundError) as error:
        missing = str(error)
    # The values of each class may be here although the embedded photos are not.
    with suppress(ValueError, FileNotFoundError):
        gain = paired_gain(run_folder.open(data_path), METRIC)
    # Without the values of each class, which the photos may be needed for, the interval is wider.
    gain = gain or unpaired_gain(outcome, METRIC)
    loss = loss_name(experiment.loss)
    results = _result_table(outcome)
    page = Page(
        kind=f"report of the run {run.resolve().name}",
        title=_headline(outcome, gain, loss) + ".",
        verdict=_verdict(outcome, gain, experiment.run.seed, missing),
        facts=_facts(experiment, outcome),
        lead=[TableBlock(_short_table(results)), metric_meanings(metric.name for metric in outcome.report.metrics)],
        sections=[
            *([model.typical, *model.failures, model.shape] if model else []),
            Section("Training", [*_training(outcome, scratch), TableBlock(results)]),
            losses_section([(loss, experiment.loss)], scratch),
            _configuration(experiment),
            _commands(experiment, run),
            versions_section(),
        ],
        origin=origin(),
    )
    return page, missing


def _classes(report: Report) -> str:
    return counted_classes(report.classes, report.seen_classes, report.one_class)


def _headline(outcome: Outcome, gain: Gain, loss: str) -> str:
    classes = _classes(outcome.report)
    if outcome.epoch == 0:
        return f"Nothing was trained: the pretrained model has {100 * gain.after:.1f} % {gain.metric} on {classes}"
    return gain_headline(gain, loss, classes)


def _verdict(outcome: Outcome, gain: Gain, seed: int, missing: str) -> list[str]:
    sentences = [] if outcome.epoch == 0 else [gain_words(gain, seed)]
    if outcome.select == "test":
        sentences.append("The epoch was selected on the test set, so these figures are optimistic.")
    if missing:
        sentences.append(f"The parts that need the photos are left out: {missing}.")
    return sentences


def _facts(experiment: Experiment, outcome: Outcome) -> list[tuple[str, str]]:
    report = outcome.report
    pooling = " + ".join(DESCRIPTORS[letter] for letter in experiment.model.descriptors)
    held_out = f"best on held-out {outcome.validation_photos}"
    selected = {"last": "the last", "validation": held_out, "test": "best on the test set"}
    return [
        ("test data", f"{experiment.data.name}: {report.queries} queries of {_classes(report)}"),
        ("model", f"{experiment.model.backbone}, {pooling} pooling, {experiment.model.dim} dimensions"),
        ("loss", rounded(loss_text(experiment.loss))),
        ("epoch", f"{outcome.epoch} ({selected[outcome.select]})"),
    ]


def _result_table(outcome: Outcome) -> Table:
    """Return every metric of the baselines and after training, with its interval."""
    report = outcome.report
    baselines = [baseline.metrics for _, baseline in outcome.baselines]
    rows = []
    for *before, after in zip(*baselines, report.metrics, strict=True):
        # Each metric is compared with the baseline that is better in it.
        best = max if after.higher_is_better else min
        difference = points(after.value - best(metric.value for metric in before), after.decimals)
        intervals = [unbroken(metric.with_interval) for metric in (*before, after)]
        rows.append((after.name, *intervals, difference))
    queries = f"{report.queries} queries against {report.gallery} photos"
    notes = [f"Percent; {queries}. In brackets: 95 % interval over the test classes (bootstrap)."]
    if report.left_out:
        notes.append(f"{report.left_out} queries are left out, because no other photo has their class.")
    names = [name for name, _ in outcome.baselines]
    if len(names) > 1:
        notes.append("The difference is to the better of the two baselines.")
    else:
        notes.append("The backbone as it comes was not measured; pairlens evaluate measures it.")
    header = ("metric", *names, "trained", "difference")
    tested = "classes never seen in training" if report.seen_classes == "none" else class_words(report.seen_classes)
    return Table(f"All metrics on {tested}", header, rows, notes, frozenset({METRIC}))


def _short_table(complete: Table) -> Table:
    # A first screen has space for a few metrics; the complete table follows under "Training".
    names = headline_metrics([row[0] for row in complete.rows])
    rows = [row for row in complete.rows if row[0] in names]
    return replace(complete, title=complete.title.replace("All metrics on", "Retrieval of"), rows=rows)


def _training(outcome: Outcome, scratch: Path) -> list[Block]:
    file = scratch / "curves.svg"
    draw_learning_curves(outcome, "", file)
    last = outcome.rows[-1]
    alt = f"Three panels over the epochs; after epoch {last.epoch}: {METRIC} {100 * last.report[METRIC]:.1f} %"
    caption = (
        f"Mean training loss, retrieval of {class_words(outcome.report.seen_classes)} (band: 95 % over classes), and mean "
        "cosines of test pairs."
    )
    return [FigureBlock(Picture(file, caption, alt)), TableBlock(_epoch_table(outcome))]


def _epoch_table(outcome: Outcome) -> Table:
    measured = [metric.name for metric in outcome.report.metrics]
    # The first metric is R@K of the least K.
    shown = [name for name in dict.fromkeys((measured[0], "R-Precision", METRIC)) if name in measured]
    header = ("epoch", "loss", "accuracy %", *(f"{name} %" for name in shown), "mean s_p", "mean s_n", "seconds")
    rows = [_epoch_row(row, shown) for row in outcome.rows]
    note = f"Epoch 0 is the model before training. Bold: epoch {outcome.epoch}, whose model is saved."
    return Table("Every epoch", header, rows, (note,), frozenset({str(outcome.epoch)}))


def _epoch_row(row: EpochRow, shown: list[str]) -> tuple[str, ...]:
    # A run without the auxiliary loss has no classifier, and so no accuracy.
    accuracy = None if row.train_accuracy is None else 100 * row.train_accuracy
    metrics = [f"{100 * row.report[name]:.2f}" for name in shown]
    cosines = [number(mean) for mean in (row.mean_s_p, row.mean_s_n)]
    return (str(row.epoch), number(row.train_loss), number(accuracy), *metrics, *cosines, f"{row.seconds:.0f}")


def _configuration(experiment: Experiment) -> Section:
    blocks = [
        Paragraph(f"The loss is {loss_text(experiment.loss)}; photos are compared with: {experiment.source}."),
        settings_table(experiment, "Settings that differ from the defaults"),
        record(experiment, "The complete record, as in config.json"),
    ]
    return Section("Configuration", blocks)


def _commands(experiment: Experiment, run: Path) -> Section:
    # None for a Python function, which no command line can name.
    command = train_command(experiment, run)
    folder = shlex.quote(str(run))
    query = f"pairlens query {folder} --query_img_name FILE"
    train: Block = Paragraph("The loss is a Python function; to train it again, call pairlens.run.")
    return Section(
        "Commands",
        [
            train if command is None else CodeBlock("Train it again", command),
            *([] if experiment.data.holds_features else [CodeBlock("Look up a photo", query)]),
            CodeBlock("Evaluate it again", f"pairlens evaluate {folder}"),
            CodeBlock("Write this page again", f"pairlens report {folder}"),
        ],
    )
