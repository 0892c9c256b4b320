"""Recorder of a run: evaluates the model after each epoch, saves checkpoints and writes the files of the run folder."""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from pairlens.core.distributed import broadcast_text, rank, world_size
from pairlens.core.records import from_plain, to_plain
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embedding_stats import EmbeddingStats, embedding_stats_or_none, whole_classes
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.metric_definitions import MetricChoice, further_metrics, standard_metrics
from pairlens.evaluation.per_query import ClassSums, QueryValues
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.baseline import Baseline, MeasuredBaseline, find_baseline, measure_baseline
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.learning_curves import draw_if_due
from pairlens.experiments.outcome import EpochRow, Outcome, best_epoch
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run_sums import write_run_sums
from pairlens.experiments.splits import Splits, seen_classes
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.given_features import GivenFeatures
from pairlens.training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from pairlens.training.divergence import DivergedError
from pairlens.training.epoch_progress import RECENT_PHOTOS
from pairlens.training.fit import Epoch, Step
from pairlens.training.learner import Learner
from pairlens.training.state_norms import StateNorms

Watch: TypeAlias = Callable[[Iterable, int], Iterable]

# Longest time between two checkpoints of a run whose backbone is frozen, in seconds.
FROZEN_SECONDS = 30.0


@dataclass(eq=False)
class RunRecorder:
    """Evaluates the model after each epoch and writes the files of the run.

    The checkpoint is written first; it also holds the rows of all epochs. The other files follow from it, and the outcome
    is written last. So if a run was stopped between two files, its outcome differs from its checkpoint, and `repair` writes
    the files again.

    Attributes:
        experiment: the settings of the run.
        run_folder: where the files are written.
        splits: the photos of the run.
        learner: the model and everything that is trained with it.
        progress: wraps the batches that are embedded, to show progress.
        rows: the rows of the epochs so far.
        metrics: what is measured beside the standard metrics.
        frozen: the features of a frozen backbone, from which photos are embedded; None if the backbone is trained.
        baseline: the backbone as it comes; None if it was not measured.
        test: the test photos embedded by the present model; None if the model was not evaluated yet.
        by_class: its metrics, summed over each test class; None if it was not evaluated yet.
        last_good: a sentence that names the last checkpoint, for errors.
        saved: time of the last checkpoint, in seconds of `time.perf_counter`.
        drawn: time of the last drawing of the learning curves.
        evaluating: how long the last evaluation took, in seconds.
        unevaluated: duration of the epochs since the last evaluation, in seconds.
        start_norms: the norms of the learner's state at the start of the run.
        norms: those of the last good checkpoint, which a new checkpoint is compared with.
    """

    experiment: Experiment
    run_folder: RunFolder
    splits: Splits
    learner: Learner
    progress: Watch | None
    rows: tuple[EpochRow, ...] = ()
    metrics: tuple[MetricChoice, ...] = ()
    frozen: FrozenBackbone | None = None
    baseline: Baseline | None = None
    test: RetrievalSet | None = None
    by_class: ClassSums | None = None
    last_good: str = "there is no checkpoint yet"
    saved: float = 0.0
    drawn: float = 0.0
    evaluating: float = 0.0
    unevaluated: float = 0.0
    start_norms: StateNorms = field(init=False)
    norms: StateNorms = field(init=False)

    def __post_init__(self) -> None:
        self.start_norms = self.norms = StateNorms.of(self.learner)
        self.saved = self.drawn = time.perf_counter()

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the run."""
        return self.run_folder.path / CHECKPOINT_FILE

    def open(self) -> None:
        """Continue from the checkpoint; raises ValueError if it is damaged or belongs to other photos."""
        record = _checked_record(load_checkpoint(self.learner, self.run_folder.path), self.checkpoint)
        # Other photos would change the sampler and the figures without notice.
        if record["catalog"] != self.splits.train.digest:
            raise ValueError(
                f"{self.splits.train.file} was prepared again with other photos since {self.run_folder.path} was trained; "
                "prepare it as it was, or train a new run"
            )
        self.rows = tuple(from_plain(EpochRow, row, f"{self.checkpoint}: rows") for row in record["rows"])
        self._check_metrics()
        self._open_norms(record.get("norms"))
        # The baseline is measured once, before the first checkpoint; its file is older than any checkpoint.
        if self.run_folder.baseline.is_file():
            self.baseline = MeasuredBaseline.load(self.run_folder.baseline).record
        self._note_checkpoint()

    def _open_norms(self, stored: Any) -> None:
        """Take over the norms at the start of the run; checkpoints of earlier versions do not hold them."""
        opened = StateNorms.of(self.learner)
        exempt = self.start_norms.exempt
        self.norms = StateNorms(opened.parts, exempt)
        known = stored if isinstance(stored, dict) else {}
        parts = {part: value for part, value in known.items() if isinstance(value, int | float) and value >= 0}
        self.start_norms = StateNorms(opened.parts | parts, exempt)

    def _check_metrics(self) -> None:
        """Raise ValueError if the finished epochs were measured with other metrics, because a table has all epochs."""
        recalls = self.experiment.evaluation.recalls
        names = [d.name for d in (*standard_metrics(recalls), *further_metrics(self.metrics, recalls))]
        stored = [metric.name for metric in self.rows[0].report.metrics]
        if names != stored:
            raise ValueError(
                f"the finished epochs of {self.run_folder.path} have the metrics {', '.join(stored)}, not "
                f"{', '.join(names)}; give the same --metrics as at the start of the run"
            )

    def repair(self) -> None:
        """Write the files again that are missing because the run was stopped between two files."""
        outcome = self._outcome()
        # Model and gallery can only be written if the learner still has the weights of the kept epoch.
        has_kept_model = outcome.epoch == self.learner.epoch and self.learner.progress is None
        complete = self.run_folder.holds(outcome) and not (has_kept_model and self._is_damaged())
        # All ranks follow rank 0, the only one that writes to the folder; another rank may see an older state of it.
        if broadcast_text("complete" if complete else "") == "complete":
            return
        if has_kept_model:
            self.by_class = self._measure(self._embed_test()).class_sums()
        self._write(outcome)

    def _is_damaged(self) -> bool:
        try:
            model = Embedder.load(self.run_folder.path)
            gallery = Embeddings.load(self.run_folder.gallery)
        except ValueError:
            return True
        names = {metric.name for metric in further_metrics(self.metrics, self.experiment.evaluation.recalls)}
        if not ClassValues.hold(self.run_folder.class_values, names):
            return True
        # A run that was stopped between the two files has a model and a gallery of different epochs.
        return gallery.model != model.fingerprint()

    def measure_baseline(self, others: Sequence[RunFolder]) -> None:
        """Measure the backbone as it comes, which takes one pass over the test photos, and store the result.

        Folds of the training classes choose settings and are compared with nothing, so there it is not measured.

        Args:
            others: runs whose baseline is taken if it is that of the same weights and photos.
        """
        backbone = self.learner.model.backbone
        # A module from outside has no form as it comes.
        if self.experiment.evaluation.folds or not isinstance(backbone, Backbone | GivenFeatures):
            return
        measured = None
        if rank() == 0:
            # An earlier start of this run may have measured it and stopped before the first checkpoint.
            files = [run_folder.baseline for run_folder in (self.run_folder, *others)]
            measured = find_baseline(files, backbone, self.experiment, self.splits, self.metrics)
        # All ranks measure together, or none.
        if not broadcast_text("found" if measured else ""):
            measured = measure_baseline(
                backbone, self.experiment, self.splits, self.metrics, self.progress, self.frozen
            )
        if measured is not None and rank() == 0:
            self.baseline = measured.record
            measured.save(self.run_folder.baseline)

    def finish(self, epoch: Epoch) -> EpochRow:
        """Evaluate the model after an epoch, and write the checkpoint and all files."""
        # The row is stored in the checkpoint, so the evaluation comes before it.
        self.rows += (self.measure(epoch),)
        self.unevaluated = 0.0
        if not self._may_wait(epoch):
            self._save_checkpoint()
            self._write(self._outcome())
        return self.rows[-1]

    def _may_wait(self, epoch: Epoch) -> bool:
        """Return whether the files need not be written after this epoch.

        An epoch behind a frozen backbone takes less time than its files, so they are written once in a while. Where the
        kept epoch need not be the last one, its model must be written when it is there.
        """
        is_last = epoch.epoch >= self.experiment.run.epochs
        if self.frozen is None or is_last or self.experiment.evaluation.select != "last":
            return False
        return time.perf_counter() - self.saved < FROZEN_SECONDS

    def checkpoint_if_due(self, step: Step) -> None:
        """Save a checkpoint if the last one is older than allowed, or would be by the end of the evaluation."""
        allowed = 60 * self.experiment.run.checkpoint_minutes
        # The last step of an epoch is followed by an evaluation, in which no checkpoint is saved.
        until_next = self.evaluating if step.step == step.steps else 0.0
        if allowed and time.perf_counter() - self.saved + until_next >= allowed:
            self._save_checkpoint()

    def measure(self, epoch: Epoch) -> EpochRow:
        """Return the row of an epoch that has just been trained."""
        start = time.perf_counter()
        test = self._embed_test()
        _check_finite_embeddings(epoch, test.queries)
        measured = self._measure(test)
        self.by_class = measured.class_sums()
        report = replace(test.summarize(measured), seen_classes=self.splits.seen_classes)
        validation = None
        if self.splits.validation is not None:
            held_out = self._embed(self.splits.validation)
            seen = seen_classes(self.splits.train, self.splits.validation)
            validation = replace(held_out.summarize(self._measure(held_out)), seen_classes=seen)
        # The other ranks take the row of rank 0, so that all ranks select the same epoch to the last bit.
        if rank():
            return from_plain(EpochRow, json.loads(broadcast_text("")), "the row of rank 0")
        row = self._row(epoch, test, report, validation, start)
        broadcast_text(json.dumps(to_plain(row)))
        return row

    def _measure(self, photos: RetrievalSet) -> QueryValues:
        return photos.measure(self.experiment.evaluation.recalls, self.metrics, sharded=world_size() > 1)

    def _row(
        self, epoch: Epoch, test: RetrievalSet, report: Report, validation: Report | None, start: float
    ) -> EpochRow:
        mean_s_p, mean_s_n = test.mean_similarities()
        statistics = self._statistics(epoch, test.queries)
        # `checkpoint_if_due` expects the next evaluation to take as long as this one.
        self.evaluating = time.perf_counter() - start
        return EpochRow(
            epoch=epoch.epoch,
            train_loss=_none_for_nan(epoch.loss),
            train_accuracy=_none_for_nan(epoch.accuracy),
            report=report,
            mean_s_p=_none_for_nan(mean_s_p),
            mean_s_n=_none_for_nan(mean_s_n),
            seconds=self.unevaluated + epoch.seconds + self.evaluating,
            validation=validation,
            gradient_cosine=_none_for_nan(epoch.gradient_cosine),
            **statistics,
            skipped=epoch.skipped,
        )

    def _statistics(self, epoch: Epoch, test: Embeddings) -> dict[str, EmbeddingStats | None]:
        """Return the statistics of seen and unseen photos, by the field of the row that holds them."""
        if not self.experiment.evaluation.log_analysis:
            return {}
        loss = self.experiment.loss
        # About as many unseen as seen photos, because some statistics depend on the number of photos.
        unseen = whole_classes(test.labels, RECENT_PHOTOS)
        return {
            "seen": embedding_stats_or_none(epoch.embeddings, epoch.labels, loss),
            "unseen": embedding_stats_or_none(test.vectors[unseen], test.labels[unseen], loss),
        }

    def _save_checkpoint(self) -> None:
        """Replace the last good checkpoint; raises DivergedError if the present state of the learner is not good."""
        # On all ranks, whose learners are equal, so that all of them end together.
        self.norms = self.norms.next(self.learner, self.start_norms)
        # Rank 0 alone writes.
        if rank() == 0:
            rows = [to_plain(row) for row in self.rows]
            record = {"rows": rows, "catalog": self.splits.train.digest, "norms": self.start_norms.parts}
            save_checkpoint(self.learner, self.run_folder.path, record)
        self._note_checkpoint()

    def _note_checkpoint(self) -> None:
        progress = self.learner.progress
        steps = "" if progress is None else f" and {progress.step} steps"
        self.last_good = f"the last good checkpoint is {self.checkpoint}, of {self.learner.epoch} epochs{steps}"
        self.saved = time.perf_counter()

    def _write(self, outcome: Outcome) -> None:
        if rank():
            return
        # Model and gallery are those of the kept epoch; a later epoch that is not kept does not overwrite them.
        if outcome.epoch == self.learner.epoch and self.test is not None:
            self.learner.model.save(self.run_folder.path)
            test = self.test.made_by(self.learner.model.fingerprint())
            self.run_folder.write_embeddings(test)
            if self.by_class is not None:
                write_run_sums(self.run_folder, outcome.report, test, self.by_class)
        self.run_folder.write_tables(outcome)
        is_finished = outcome.rows[-1].epoch >= self.experiment.run.epochs
        self.drawn = draw_if_due(outcome, self.run_folder.path.name, self.run_folder.curves, self.drawn, is_finished)
        self.run_folder.write_outcome(outcome)

    def _outcome(self) -> Outcome:
        select = self.experiment.evaluation.select
        return Outcome(select, best_epoch(self.rows, self.experiment), self.rows, self.baseline)

    def _embed_test(self) -> RetrievalSet:
        self.test = self._embed(self.splits.test, self.splits.gallery)
        return self.test

    def _embed(self, queries: Catalog, gallery: Catalog | None = None) -> RetrievalSet:
        if self.frozen is not None:
            return self.frozen.embed_set(queries, gallery)
        return RetrievalSet.embed(
            self.learner.model,
            queries,
            gallery,
            batch_size=self.experiment.batches.size,
            workers=self.experiment.batches.workers,
            watch=self.progress,
        )


def _checked_record(record: Any, file: Path) -> dict[str, Any]:
    """Return the record stored beside a learner if it has the form that `_save_checkpoint` writes."""
    has_catalog = isinstance(record, dict) and isinstance(record.get("catalog"), str)
    if not has_catalog or not isinstance(record.get("rows"), list) or not record["rows"]:
        raise ValueError(f"{file} is damaged or of another experiment (it has no rows of epochs); train a new run")
    return record


def _check_finite_embeddings(epoch: Epoch, test: Embeddings) -> None:
    """Raise DivergedError if an embedding is not finite: a step with a finite gradient can still overflow the weights."""
    wrong = (~torch.isfinite(torch.linalg.vector_norm(test.vectors, dim=1))).nonzero()
    if len(wrong):
        raise DivergedError(
            f"after epoch {epoch.epoch} the embedding of {test.paths[int(wrong[0])]} is not finite, because a step has "
            "made weights too large; lower --learning_rate"
        )


def _none_for_nan(value: float) -> float | None:
    # JSON has no NaN.
    return None if math.isnan(value) else value
