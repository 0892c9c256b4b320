"""Evaluation of a finished run: the saved model on its test photos again, and the backbone as it comes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pairlens.core.distributed import rank, world_size
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.metric_definitions import MetricChoice
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.baseline import baseline_is_readable, initial_backbone, measure_baseline
from pairlens.experiments.build import choose_device
from pairlens.experiments.embed_photos import embed_photos
from pairlens.experiments.metric_spec import stored_metrics
from pairlens.experiments.outcome import Outcome
from pairlens.experiments.recorder import Watch
from pairlens.experiments.run import lock_on_first_rank
from pairlens.experiments.run_folder import OpenRun, RunFolder
from pairlens.model.embedder import Embedder
from pairlens.neighbors.approximate import IndexName


def evaluate_run(
    folder: str | Path,
    recalls: tuple[int, ...] | None = None,
    *,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Watch | None = None,
    index: IndexName = "exact",
    metrics: Sequence[MetricChoice] | None = None,
) -> Report:
    """Embed the test photos of a run again with its kept model, write its gallery again, and return the report.

    Args:
        folder: the folder of the run.
        recalls: other K than those of the run.
        data_path: folder of the prepared data sets, if they have moved since the run was trained.
        device: where to embed.
        progress: wraps the batches to show progress.
        index: how to search; for an approximate index the report states how many neighbours it misses.
        metrics: other further metrics than those of the run; needed if one of them is from outside, because its code is
            not stored.

    Raises:
        ValueError: if the folder is not that of a finished run, if a metric is unknown, or if another process is writing
            into it.
        FileNotFoundError: if the data set is not there.
    """
    opened = RunFolder(Path(folder)).open(data_path)
    splits = opened.splits
    # Made before anything is embedded, because a record checks its settings.
    evaluation = opened.experiment.evaluation
    further = stored_metrics(evaluation.metrics, metrics, opened.run_folder.path)
    evaluation = replace(evaluation, recalls=recalls or evaluation.recalls, metrics=further)
    # Locked, because the gallery is written and the model must not change in between.
    with lock_on_first_rank(opened.run_folder):
        model = Embedder.load(opened.run_folder.path, str(choose_device(device)))
        test = embed_test(opened, model, progress)
        report = test.evaluate(evaluation.recalls, evaluation.metrics, index, sharded=world_size() > 1)
        report = replace(report, seen_classes=splits.seen_classes)
        if rank() == 0:
            opened.run_folder.write_embeddings(test.made_by(model.fingerprint()))
    return report


def embed_test(opened: OpenRun, model: Embedder, progress: Watch | None = None) -> RetrievalSet:
    """Return the test photos of a run as a model embeds them; the stored features of a frozen backbone are used."""
    splits = opened.splits
    photos = [part for part in (splits.test, splits.gallery) if part is not None]
    return RetrievalSet(*embed_photos(opened, model, photos, progress))


def add_baseline(
    folder: str | Path,
    *,
    metrics: Sequence[MetricChoice] | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Watch | None = None,
) -> Outcome:
    """Measure the backbone of a run as it comes, store it with the run and return the outcome that holds it.

    Runs of version 0.1 lack it, and its file may be damaged; a run that has it stays as it is.

    Args:
        folder: the folder of the run.
        metrics: all further metrics of the run, needed if one of them is from outside, because its code is not stored.
        data_path: folder of the prepared data sets, if they have moved since the run was trained.
        device: where to embed.
        progress: wraps the batches to show progress.

    Raises:
        ValueError: if the folder is not that of a finished run, if another process is writing into it, or if the weights
            that the run started from are not available.
        FileNotFoundError: if the data set is not there.
    """
    opened = RunFolder(Path(folder)).open(data_path)
    run_folder = opened.run_folder
    if opened.outcome.baseline is not None and baseline_is_readable(run_folder.baseline):
        return opened.outcome
    further = stored_metrics(opened.experiment.evaluation.metrics, metrics, run_folder.path)
    with lock_on_first_rank(run_folder):
        backbone = initial_backbone(opened.experiment).to(choose_device(device))
        measured = measure_baseline(backbone, opened.experiment, opened.splits, further, progress)
        if measured is None:
            return opened.outcome
        outcome = replace(opened.outcome, baseline=measured.record)
        if rank() == 0:
            measured.save(run_folder.baseline)
            run_folder.write_outcome(outcome)
    return outcome
