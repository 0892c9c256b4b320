"""The outcome of a run: the figures of every epoch, which epoch is kept, and what training is compared with."""

import math
from dataclasses import dataclass

from pairlens.evaluation.embedding_stats import EmbeddingStats
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.baseline import Baseline
from pairlens.experiments.experiment import Experiment, Select

BEFORE_TRAINING = "before training"


def baseline_noun(name: str) -> str:
    """Return the name of a baseline as a noun for sentences, without its article.

    >>> baseline_noun("before training"), baseline_noun("pretrained backbone")
    ('model before training', 'pretrained backbone')
    """
    return "model before training" if name == BEFORE_TRAINING else name


@dataclass(frozen=True)
class EpochRow:
    """The figures of one epoch: a row of `statistics.csv`, which holds shares in percent, as the original project did.

    Attributes:
        epoch: number from 1; 0 is the model before training.
        train_loss: mean total loss per photo; None before training.
        train_accuracy: accuracy of the auxiliary head, 0 to 1; None without a head.
        report: retrieval on the test photos.
        mean_s_p: mean cosine of the positive pairs of the test photos (of queries with gallery items, if these are other
            photos); None if there is no such pair.
        mean_s_n: mean cosine of their negative pairs.
        seconds: wall time of training and evaluation.
        validation: retrieval on the held-out training photos; None if none are held out.
        gradient_cosine: cosine of the gradients of ranking and auxiliary loss at the last feature map of the backbone, in
            the last step of the epoch; None without an auxiliary loss.
        seen: statistics of the photos of the last training steps, embedded as they were trained on; None before training,
            or if `log_analysis` is off.
        unseen: statistics of some whole test classes, which `report.seen_classes` says to be seen or unseen; None if
            `log_analysis` is off.
        skipped: number of steps that were left out because their loss or gradient was not finite.
    """

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    report: Report
    mean_s_p: float | None
    mean_s_n: float | None
    seconds: float
    validation: Report | None = None
    gradient_cosine: float | None = None
    seen: EmbeddingStats | None = None
    unseen: EmbeddingStats | None = None
    skipped: int = 0


@dataclass(frozen=True)
class Outcome:
    """The result of a run: every epoch, and which one is kept.

    Attributes:
        select: how the kept epoch was chosen.
        epoch: the epoch whose model and gallery are kept.
        rows: the model before training (epoch 0) and every finished epoch.
        baseline: the backbone as it comes; None if it was not measured, as in runs of version 0.1.

    Raises:
        ValueError: if the kept epoch has no row, or if the rows and the baseline differ in their metrics.
    """

    select: Select
    epoch: int
    rows: tuple[EpochRow, ...]
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        if self.epoch not in {row.epoch for row in self.rows}:
            raise ValueError(f"epoch {self.epoch} was kept, but has no row")
        # Tables and figures have a column per metric, so all reports must have the same metrics.
        reports = [row.report for row in self.rows]
        if self.baseline is not None:
            reports.append(self.baseline.report)
        names = {tuple(metric.name for metric in report.metrics) for report in reports}
        if len(names) > 1 or () in names:
            raise ValueError("its epochs, or its baseline, have different metrics, or no metrics")

    @property
    def untrained(self) -> Report:
        """The test report of the model before training."""
        return self.rows[0].report

    @property
    def baselines(self) -> list[tuple[str, Report]]:
        """What training is compared with, by name: the backbone as it comes, if it was measured, and epoch 0."""
        plain = [] if self.baseline is None else [(self.baseline.name, self.baseline.report)]
        return [*plain, (BEFORE_TRAINING, self.untrained)]

    def better_baseline(self, metric: str) -> tuple[str, Report]:
        """Return the baseline with the better value of a metric, by name; the backbone as it comes, if both are equal."""
        best, *others = self.baselines
        for other in others:
            if other[1].metric(metric).is_better_than(best[1].metric(metric)):
                best = other
        return best

    @property
    def kept_row(self) -> EpochRow:
        """The row of the kept epoch."""
        return next(row for row in self.rows if row.epoch == self.epoch)

    @property
    def report(self) -> Report:
        """The test report of the kept epoch."""
        return self.kept_row.report

    @property
    def validation_photos(self) -> str:
        """What was held out for validation: classes, or photos of the classes that the model was trained on."""
        validation = self.kept_row.validation
        by_photos = validation is not None and validation.seen_classes != "none"
        return "photos of training classes" if by_photos else "training classes"

    @property
    def selection(self) -> str:
        """The words that state how the kept epoch was chosen; to be printed wherever its figures are shown."""
        match self.select:
            case "last":
                return f"last epoch ({self.epoch})"
            case "validation":
                return f"epoch {self.epoch}, selected on held-out {self.validation_photos}"
            case "test":
                return f"epoch {self.epoch}, selected on test: optimistic"


def best_epoch(rows: tuple[EpochRow, ...], experiment: Experiment) -> int:
    """Return the epoch to keep, the first one of equals; epoch 0, before training, is kept only if there is no other."""
    # `max` returns the first of equal rows.
    trained = rows[1:] or rows
    name = f"R@{experiment.evaluation.recalls[0]}"
    match experiment.evaluation.select:
        case "last":
            return trained[-1].epoch
        case "test":
            return max(trained, key=lambda row: row.report[name]).epoch
        case "validation":
            return max(trained, key=lambda row: row.validation[name] if row.validation else math.nan).epoch
