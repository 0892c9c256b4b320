"""What is kept of a run: the checkpoint, which is the one source of truth, and all that is written from it."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from pairlens.core.distributed import broadcast_text, rank, world_size
from pairlens.core.records import from_plain, to_plain
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embedding_stats import EmbeddingStats, embedding_stats_or_none, whole_classes
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import Report, evaluate
from pairlens.evaluation.metrics import mean_similarities
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.learning_curves import draw_learning_curves
from pairlens.experiments.run_folder import EpochRow, Outcome, RunFolder
from pairlens.experiments.splits import Splits
from pairlens.model.embedder import Embedder
from pairlens.neighbors.approximate import IndexName
from pairlens.training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from pairlens.training.divergence import DivergedError
from pairlens.training.epoch_progress import RECENT
from pairlens.training.fit import Epoch, Learner, Step

Watch: TypeAlias = Callable[[Iterable, int], Iterable]


@dataclass(eq=False)
class RunRecorder:
    """Evaluates the model after an epoch and writes what the run has come to.

    First the checkpoint, which holds the rows of all epochs too; then what follows from it, the outcome last. So a run that
    was stopped between two files has an outcome that is not the checkpoint's, and `mend` writes the others again.
    """

    experiment: Experiment
    place: RunFolder
    parts: Splits
    learner: Learner
    progress: Watch | None
    rows: tuple[EpochRow, ...] = ()
    test: Embeddings | None = None
    gallery: Embeddings | None = None
    last_good: str = "there is no checkpoint yet"
    saved: float = 0.0
    evaluating: float = 0.0

    def open(self) -> None:
        """Go on from the checkpoint in the folder; raises ValueError if it is damaged or of other photos."""
        record = _whole_record(load_checkpoint(self.learner, self.place.path), self.place.path / CHECKPOINT_FILE)
        if record["catalog"] != self.parts.train.digest:
            raise ValueError(
                f"{self.parts.train.file} was prepared anew since {self.place.path} was trained; prepare it as it was, or "
                "train a new run"
            )
        where = f"{self.place.path / CHECKPOINT_FILE}: rows"
        self.rows = tuple(from_plain(EpochRow, row, where) for row in record["rows"])
        self._saved()

    def repair(self) -> None:
        """Write anew what a run that was stopped between two files has not written."""
        outcome = self._outcome()
        present = outcome.epoch == self.learner.epoch and self.learner.under_way is None
        whole = self.place.holds(outcome) and not (present and self._is_damaged())
        # What rank 0 finds in the folder, which it alone writes to.
        if broadcast_text("whole" if whole else "") == "whole":
            return
        if present:
            self._embed_test()
        self._write(outcome)

    def _is_damaged(self) -> bool:
        try:
            model, gallery = Embedder.load(self.place.path), Embeddings.load(self.place.gallery)
        except ValueError:
            return True
        return gallery.model != model.fingerprint()

    def finish(self, epoch: Epoch) -> EpochRow:
        """Evaluate the model after an epoch, and write everything."""
        self.rows += (self.measure(epoch),)
        self._save()
        self._write(self._outcome())
        return self.rows[-1]

    def checkpoint_if_due(self, step: Step) -> None:
        """Write a checkpoint if the last one will soon be too old, or would be when the evaluation is over."""
        allowed = 60 * self.experiment.checkpoint_minutes
        coming = self.evaluating if step.step == step.steps else 0.0
        if allowed and time.perf_counter() - self.saved + coming >= allowed:
            self._save()

    def measure(self, epoch: Epoch) -> EpochRow:
        """Return the row of an epoch that has just been trained."""
        start = time.perf_counter()
        self._embed_test()
        assert self.test is not None
        _refuse_ruined(epoch, self.test)
        report = evaluate_embeddings(self.test, self.gallery, self.experiment.recalls)
        held_out = None
        if self.parts.validation is not None:
            held_out = evaluate_embeddings(self._embed(self.parts.validation), None, self.experiment.recalls)
        if rank():
            return from_plain(EpochRow, json.loads(broadcast_text("")), "the row of rank 0")
        row = self._row(epoch, self.test, report, held_out, start)
        broadcast_text(json.dumps(to_plain(row)))
        return row

    def _row(self, epoch: Epoch, test: Embeddings, report: Report, validation: Report | None, start: float) -> EpochRow:
        pool = () if self.gallery is None else (self.gallery.vectors, self.gallery.labels)
        s_p, s_n = mean_similarities(test.vectors, test.labels, *pool)
        shapes = self._shapes(epoch, test)
        self.evaluating = time.perf_counter() - start
        return EpochRow(
            epoch=epoch.epoch,
            train_loss=_known(epoch.loss),
            train_accuracy=_known(epoch.accuracy),
            report=report,
            mean_s_p=_known(s_p),
            mean_s_n=_known(s_n),
            seconds=epoch.seconds + self.evaluating,
            validation=validation,
            gradient_cosine=_known(epoch.gradient_cosine),
            **shapes,
            skipped=epoch.skipped,
        )

    def _shapes(self, epoch: Epoch, test: Embeddings) -> dict[str, EmbeddingStats | None]:
        if not self.experiment.log_analysis:
            return {}
        some, loss = whole_classes(test.labels, RECENT), self.experiment.loss
        return {
            "seen": embedding_stats_or_none(epoch.embeddings, epoch.labels, loss),
            "unseen": embedding_stats_or_none(test.vectors[some], test.labels[some], loss),
        }

    def _save(self) -> None:
        rows = [to_plain(row) for row in self.rows]
        if rank() == 0:
            save_checkpoint(self.learner, self.place.path, {"rows": rows, "catalog": self.parts.train.digest})
        self._saved()

    def _saved(self) -> None:
        way = self.learner.under_way
        within = "" if way is None else f" and {way.step} steps"
        self.last_good = (
            f"the last good checkpoint is {self.place.path / CHECKPOINT_FILE}, of {self.learner.epoch} epochs{within}"
        )
        self.saved = time.perf_counter()

    def _write(self, outcome: Outcome) -> None:
        if rank():
            return
        if outcome.epoch == self.learner.epoch and self.test is not None:
            self.learner.model.save(self.place.path)
            save_embeddings(self.place, self.learner.model, self.test, self.gallery)
        self.place.write_tables(outcome)
        draw_learning_curves(outcome, self.place.path.name, self.place.curves)
        self.place.write_outcome(outcome)

    def _outcome(self) -> Outcome:
        return Outcome(self.experiment.select, best_epoch(self.rows, self.experiment), self.rows)

    def _embed_test(self) -> None:
        self.test = self._embed(self.parts.test)
        self.gallery = self._embed(self.parts.gallery) if self.parts.gallery is not None else None

    def _embed(self, catalog: Catalog) -> Embeddings:
        e = self.experiment
        return embed(self.learner.model, catalog, batch_size=e.batch_size, workers=e.workers, watch=self.progress)


def _whole_record(record: Any, file: Path) -> dict[str, Any]:
    """Return what is kept beside a learner, if it is what `_save` writes."""
    whole = isinstance(record, dict) and isinstance(record.get("catalog"), str)
    if not whole or not isinstance(record.get("rows"), list) or not record["rows"]:
        raise ValueError(f"{file} is damaged or of another experiment (it has no rows of epochs); train anew")
    return record


def _refuse_ruined(epoch: Epoch, test: Embeddings) -> None:
    """Raise DivergedError if the model has come to infinity: a last step may do that without being infinite itself."""
    wrong = (~torch.isfinite(torch.linalg.vector_norm(test.vectors, dim=1))).nonzero()
    if len(wrong):
        raise DivergedError(
            f"after epoch {epoch.epoch} the embedding of {test.paths[int(wrong[0])]} is not finite, because a step has "
            "made weights too large; lower --learning_rate"
        )


def save_embeddings(place: RunFolder, model: Embedder, test: Embeddings, gallery: Embeddings | None) -> None:
    """Write what can be searched, and the queries where they are apart, each with the fingerprint of its model."""
    made_by = model.fingerprint()
    replace(gallery or test, model=made_by).save(place.gallery)
    if gallery is not None:
        replace(test, model=made_by).save(place.queries)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def best_epoch(rows: tuple[EpochRow, ...], experiment: Experiment) -> int:
    """Return the epoch to keep; of equal ones the first. The untrained model counts only while nothing is trained."""
    trained = rows[1:] or rows
    name = f"R@{experiment.recalls[0]}"
    match experiment.select:
        case "last":
            return trained[-1].epoch
        case "test":
            return max(trained, key=lambda row: row.report[name]).epoch
        case "validation":
            return max(trained, key=lambda row: row.validation[name] if row.validation else math.nan).epoch


def evaluate_embeddings(
    test: Embeddings, gallery: Embeddings | None, recalls: tuple[int, ...], index: IndexName = "exact"
) -> Report:
    """Return the report of one set searched in itself, or of queries searched in a gallery; all ranks must call it."""
    pool = (None, None) if gallery is None else (gallery.vectors, gallery.labels)
    return evaluate(test.vectors, test.labels, *pool, recalls=recalls, index=index, sharded=world_size() > 1)
