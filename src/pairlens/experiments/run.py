"""Running an experiment: train, evaluate after every epoch, write everything into one folder."""

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pairlens.core.distributed import barrier, rank
from pairlens.core.files import UnwritableError, check_folder_name
from pairlens.core.records import require
from pairlens.core.settings import with_settings
from pairlens.data.catalog import Catalog
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.metric_definitions import MetricChoice
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_batches
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.metric_spec import check_choices, import_metrics, stored_metrics
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.recorder import RunRecorder, Watch
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import Splits, open_splits
from pairlens.experiments.trackers import check_installed
from pairlens.experiments.tracking import DrawPictures, run_log
from pairlens.losses.loss_text import AnyLoss
from pairlens.losses.protocols import obstacle_of
from pairlens.model.embedder import Embedder
from pairlens.training.checkpoint import has_checkpoint
from pairlens.training.divergence import DivergedError
from pairlens.training.fit import Epoch, Step, TrainingPhotos, fit
from pairlens.training.learner import Learner


@dataclass(frozen=True, eq=False)
class Started:
    """Training begins: the data set is open and split, and the model is built.

    Attributes:
        experiment: the settings of the run.
        splits: its photos.
        batches: what the batches hold, and why, if they were fitted to the data set; empty if they were given.
    """

    experiment: Experiment
    splits: Splits
    batches: str = ""


Event: TypeAlias = Started | Step | EpochRow
BEFORE_FIRST_EPOCH = Epoch(0, math.nan, math.nan, math.nan, 0.0)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where its files lie.
        experiment: its settings.
        outcome: its result.
    """

    folder: Path
    experiment: Experiment
    outcome: Outcome

    @property
    def report(self) -> Report:
        """The test report of the kept epoch."""
        return self.outcome.report

    def model(self, device: str = "cpu") -> Embedder:
        """Open the model of the kept epoch."""
        return Embedder.load(self.folder, device)


def run(experiment: Experiment, folder: str | Path | None = None, watch: Callable[[Event], None] | None = None) -> Run:
    """Train and evaluate an experiment, and write its files into `folder` (default runs/<its default name>).

    Args:
        experiment: the settings.
        folder: a folder that does not exist yet.
        watch: called with `Started`, then with every `Step` and every `EpochRow`.

    Raises:
        ValueError: if the folder exists, or if settings contradict each other or the data set.
        FileNotFoundError: if the data set is not prepared.
    """
    run_folder = RunFolder(Path(folder) if folder is not None else Path("runs") / experiment.default_name)
    started = _consume(train(experiment, run_folder), watch)
    # Without a watcher nobody else would say so.
    if started.batches and watch is None:
        warnings.warn(f"batches of {started.batches}", stacklevel=2)
    return Run(run_folder.path, started.experiment, run_folder.read_outcome())


def train_without_files(experiment: Experiment) -> Report:
    """Train an experiment and return the test report of its last epoch, the same as that of `run`, without writing a file.

    Nothing can be resumed, and the model before training is not evaluated. It serves the folds of tuning, which are many and
    of which only the report is needed.

    Raises:
        DivergedError: if the loss, a gradient, a weight or an embedding is not finite, or the weights have grown absurdly.
        FileNotFoundError: if the data set is not prepared.
        ValueError: if settings contradict each other or the data set.
    """
    metrics = import_metrics(experiment.evaluation.metrics)
    check_choices(metrics, experiment.evaluation.recalls)
    splits = open_splits(experiment, draw=True)
    experiment, _ = fit_batches(experiment, splits.train)
    learner = _make_learner(experiment, splits.train)
    frozen = _frozen_backbone(experiment, learner, splits, None)
    # The folder is named in no message, because nothing is read from it or written into it.
    recorder = RunRecorder(experiment, RunFolder(Path()), splits, learner, None, metrics=metrics, frozen=frozen)
    last = BEFORE_FIRST_EPOCH
    for record in fit(learner, _photos(experiment, splits, frozen), experiment.objective, experiment.run.epochs):
        last = record if isinstance(record, Epoch) else last
    # A run makes the same check when it writes its checkpoint.
    recorder.norms.next(learner, recorder.start_norms)
    return recorder.measure(last).report


def resume_run(
    folder: str | Path,
    loss: AnyLoss | None = None,
    watch: Callable[[Event], None] | None = None,
    metrics: Sequence[MetricChoice] | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    trust: Collection[str] = (),
) -> Run:
    """Resume an interrupted run to its end; the result is the same as without the interruption.

    Args:
        folder: the folder of the run.
        loss: the loss of the run, needed for a loss of another project, because a run does not store its code.
        watch: called with `Started`, then with every `Step` and every `EpochRow`.
        metrics: all further metrics of the run, needed if one of them is from outside, because its code is not stored.
        functions: the functions that are settings of the run (optimizer, schedule, augment, sampler), by the name of the
            setting, because functions are not stored.
        trust: instead of `loss`, the modules that may be imported to find it, such as {"my_code.losses"}. This runs their
            code, so name only modules that are yours.

    Raises:
        ValueError: if the folder is not that of a run, if another process is training it, or if its checkpoint is damaged.
    """
    run_folder = RunFolder(Path(folder))
    _consume(resume(run_folder, loss=loss, metrics=metrics, functions=functions, trust=trust), watch)
    return Run(run_folder.path, run_folder.experiment(loss=loss, trust=trust), run_folder.read_outcome())


def _consume(events: Iterator[Event], watch: Callable[[Event], None] | None) -> Started:
    """Run through the events; returns the first one."""
    started: Started | None = None
    for event in events:
        started = event if isinstance(event, Started) else started
        if watch is not None:
            watch(event)
    # Rank 0 writes the outcome, which the other ranks read next.
    barrier()
    assert started is not None, "every training begins with Started"
    return started


def train(
    experiment: Experiment,
    run_folder: RunFolder,
    progress: Watch | None = None,
    given: frozenset[str] = frozenset(),
    others: Sequence[RunFolder] = (),
    draw: DrawPictures | None = None,
) -> Iterator[Event]:
    """Train an experiment in a new folder; yields `Started`, then a record after every step and every epoch.

    Args:
        experiment: the settings; batches of the default size are fitted to the data set, see `fit_batches`.
        run_folder: the folder, which must not exist yet.
        progress: wraps the batches to show progress.
        given: the options that the user gave, which are not fitted.
        others: runs whose baseline is taken, and not measured again, if they have the same backbone and test photos.
        draw: draws pictures for the trackers of the run, beside its learning curves.
    """
    check_installed(experiment.run.log)
    # The folder is made after everything that may fail because of the settings, so that no empty folder is left behind.
    metrics = import_metrics(experiment.evaluation.metrics)
    check_choices(metrics, experiment.evaluation.recalls)
    check_folder_name(run_folder.path)
    splits = open_splits(experiment, draw=True)
    experiment, batches = fit_batches(experiment, splits.train, given)
    learner = _make_learner(experiment, splits.train)
    frozen = _frozen_backbone(experiment, learner, splits, progress)
    photos = _photos(experiment, splits, frozen)
    if rank() == 0:
        run_folder.create(experiment)
    with lock_on_first_rank(run_folder):
        recorder = RunRecorder(experiment, run_folder, splits, learner, progress, metrics=metrics, frozen=frozen)
        yield from _train(recorder, photos, others, batches, draw)


def resume(  # noqa: PLR0913 (all but the folder are named options)
    run_folder: RunFolder,
    progress: Watch | None = None,
    loss: AnyLoss | None = None,
    metrics: Sequence[MetricChoice] | None = None,
    others: Sequence[RunFolder] = (),
    functions: Mapping[str, Callable[..., Any]] | None = None,
    trust: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    draw: DrawPictures | None = None,
) -> Iterator[Event]:
    """Resume a run from its last checkpoint; yields as `train` does, only `Started` if all epochs are finished.

    Args:
        run_folder: the folder of the run.
        progress: wraps the batches to show progress.
        loss: the loss of the run, needed for a loss of another project, because a run does not store its code.
        metrics: all further metrics of the run, needed if one of them is from outside, because its code is not stored.
        others: as for `train`; needed only if the run was stopped before its first checkpoint.
        functions: the functions that are settings of the run, by the name of the setting.
        trust: instead of `loss`, the modules that may be imported to find it.
        settings: new values of settings that change no results, by option name; stored once the run is open with them.
        draw: as for `train`.

    Raises:
        ValueError: if the folder is not that of a run, if another process is training it, or if its checkpoint is damaged.
    """
    stored = with_settings(run_folder.experiment(loss=loss, trust=trust), settings or {})
    experiment = with_settings(stored, functions or {})
    check_installed(experiment.run.log)
    # Checked before the data set is opened, because the run cannot continue without the code of its loss.
    require(not obstacle_of(experiment.loss), obstacle_of(experiment.loss))
    measured = stored_metrics(experiment.evaluation.metrics, metrics, run_folder.path)
    with lock_on_first_rank(run_folder):
        splits = open_splits(experiment)
        # A run that was stopped before its first checkpoint starts from the beginning.
        started = run_folder.outcome.is_file() or has_checkpoint(run_folder.path)
        # A comparison removes the checkpoints of its finished runs: nothing is left to train, and nothing to train it from.
        if started and not has_checkpoint(run_folder.path) and run_folder.has_all_epochs():
            if settings and rank() == 0:
                run_folder.write_experiment(stored)
            yield Started(experiment, splits)
            return
        # The checkpoint replaces the weights that the run started from, whose file need not exist any more.
        learner = _make_learner(replace(experiment, weights="none") if started else experiment, splits.train)
        frozen = _frozen_backbone(experiment, learner, splits, progress)
        photos = _photos(experiment, splits, frozen)
        recorder = RunRecorder(experiment, run_folder, splits, learner, progress, metrics=measured, frozen=frozen)
        if started:
            recorder.open()
        if settings and rank() == 0:
            run_folder.write_experiment(stored)
        if started:
            recorder.repair()
        yield from _train(recorder, photos, others, draw=draw)


def _make_learner(experiment: Experiment, catalog: Catalog) -> Learner:
    learner = make_learner(experiment, catalog.classes, catalog.channels)
    model = learner.model
    # Stored with the model, so that it reduces a new photo in the same way as the photos of its data set.
    stored = {"stored_size": catalog.size, "stored_quality": catalog.quality, "stored_reading": catalog.stored_reading}
    model.architecture = replace(model.architecture, **stored)
    return learner


def _frozen_backbone(
    experiment: Experiment, learner: Learner, splits: Splits, progress: Watch | None
) -> FrozenBackbone | None:
    if experiment.objective.freeze == "none":
        return None
    return FrozenBackbone(experiment, learner.model, splits.train, progress)


def _photos(experiment: Experiment, splits: Splits, frozen: FrozenBackbone | None) -> TrainingPhotos:
    photos = training_batches(experiment, splits.train)
    return photos if frozen is None else frozen.batches(photos)


def lock_on_first_rank(run_folder: RunFolder) -> AbstractContextManager[None]:
    """Lock the folder on rank 0, which alone writes to it; the ranks must not compete for the lock."""
    return run_folder.lock() if rank() == 0 else nullcontext()


def _train(
    recorder: RunRecorder,
    photos: TrainingPhotos,
    others: Sequence[RunFolder],
    batches: str = "",
    draw: DrawPictures | None = None,
) -> Iterator[Event]:
    yield Started(recorder.experiment, recorder.splits, batches)
    with run_log(recorder.experiment, recorder.run_folder, draw) as log:
        for record in _records(recorder, photos, others):
            # Sent before it is shown: whoever sees an epoch may end the run.
            if isinstance(record, EpochRow):
                log.send(recorder.rows)
            yield record
        log.send(recorder.rows)
        log.end()


def _records(recorder: RunRecorder, photos: TrainingPhotos, others: Sequence[RunFolder]) -> Iterator[Step | EpochRow]:
    """Train what is left of a run; yields a record after every step and every epoch."""
    experiment, learner = recorder.experiment, recorder.learner
    try:
        # Epoch 0 evaluates the backbone as it comes, and the model before training.
        if not recorder.rows:
            recorder.measure_baseline(others)
            yield recorder.finish(BEFORE_FIRST_EPOCH)
        for record in fit(learner, photos, experiment.objective, experiment.run.epochs):
            if isinstance(record, Step):
                recorder.checkpoint_if_due(record)
                yield record
            elif experiment.evaluation.is_due(record.epoch, experiment.run.epochs):
                yield recorder.finish(record)
            else:
                recorder.unevaluated += record.seconds
    except DivergedError as error:
        raise DivergedError(f"{error}; {recorder.last_good}") from error
    except UnwritableError as error:
        command = f"pairlens train --resume {recorder.run_folder.path}"
        raise UnwritableError(f"{error}, then resume with {command}") from error
