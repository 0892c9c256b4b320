"""Running an experiment: train, evaluate every epoch, keep everything in one folder."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from pairlens.core.distributed import barrier, rank, world_size
from pairlens.core.files import UnwritableError
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TrainingBatches
from pairlens.data.sampler import ClassBatches
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.build import choose_device, make_learner, make_objective
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recorder import RunRecorder, Watch, evaluate_embeddings, save_embeddings
from pairlens.experiments.run_folder import EpochRow, Outcome, RunFolder
from pairlens.experiments.splits import open_catalog, split_catalog
from pairlens.losses import Loss
from pairlens.losses.protocols import Wrapped
from pairlens.model.embedder import Embedder
from pairlens.neighbors.approximate import IndexName
from pairlens.training.checkpoint import CHECKPOINT_FILE
from pairlens.training.divergence import DivergedError
from pairlens.training.fit import Epoch, Step, fit

Event: TypeAlias = Step | EpochRow


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies and what it came to."""

    folder: Path
    experiment: Experiment
    outcome: Outcome

    @property
    def report(self) -> Report:
        """The test report of the kept epoch."""
        return self.outcome.report

    def model(self, device: str = "cpu") -> Embedder:
        """Open the kept model."""
        return Embedder.load(self.folder, device)


def run(experiment: Experiment, folder: str | Path | None = None, watch: Callable[[Event], None] | None = None) -> Run:
    """Train and evaluate an experiment; everything it makes lies in `folder` (default runs/<its default name>).

    Args:
        experiment: what to run.
        folder: must not exist yet.
        watch: called with every `Step` and every `EpochRow`.

    Raises:
        ValueError: if the folder exists, the data set is not prepared, or settings do not fit each other.
    """
    place = RunFolder(Path(folder) if folder is not None else Path("runs") / experiment.default_name)
    for event in train(experiment, place):
        if watch is not None:
            watch(event)
    barrier()
    return Run(place.path, experiment, place.read_outcome())


def train(experiment: Experiment, place: RunFolder, progress: Watch | None = None) -> Iterator[Event]:
    """Start an experiment in a new folder; yields a record for every step and every finished epoch."""
    parts = split_catalog(open_catalog(experiment), experiment)
    learner = make_learner(experiment, parts.train.classes)
    photos = _training_batches(experiment, parts.train)
    if rank() == 0:
        place.create(experiment)
    with _held(place):
        yield from _train(RunRecorder(experiment, place, parts, learner, progress), photos)


def _held(place: RunFolder) -> AbstractContextManager[None]:
    """Hold the folder for all ranks, of which the first alone writes."""
    return place.alone() if rank() == 0 else nullcontext()


def resume(place: RunFolder, progress: Watch | None = None, loss: Loss | Wrapped | None = None) -> Iterator[Event]:
    """Go on with a run from its last checkpoint; yields as `train` does, nothing if all epochs are finished.

    Args:
        place: the folder of the run.
        progress: wraps the batches to show progress.
        loss: the loss of a run whose loss was wrapped, which is not stored.

    Raises:
        ValueError: if the folder is no run, another process trains it, or its checkpoint is damaged.
    """
    experiment = place.experiment()
    experiment = experiment if loss is None else replace(experiment, loss=loss)
    with _held(place):
        parts = split_catalog(open_catalog(experiment), experiment)
        started = place.outcome.is_file() or (place.path / CHECKPOINT_FILE).is_file()
        # The weights it started from are in the checkpoint, and need not be there any more.
        learner = make_learner(replace(experiment, weights="none") if started else experiment, parts.train.classes)
        photos = _training_batches(experiment, parts.train)
        keeper = RunRecorder(experiment, place, parts, learner, progress)
        if started:
            keeper.open()
            keeper.repair()
        yield from _train(keeper, photos)


def _training_batches(experiment: Experiment, catalog: Catalog) -> TrainingBatches:
    sampler = ClassBatches(catalog.labels, experiment.batch_size, experiment.per_class, experiment.seed)
    pin = choose_device(experiment.device).type == "cuda"
    return TrainingBatches(
        catalog, sampler, experiment.image_size, experiment.augment, experiment.workers, pin, rank(), world_size()
    )


def _train(keeper: RunRecorder, photos: TrainingBatches) -> Iterator[Event]:
    experiment, learner = keeper.experiment, keeper.learner
    objective = make_objective(experiment, learner.model)
    try:
        if not keeper.rows:
            yield keeper.finish(Epoch(0, math.nan, math.nan, math.nan, 0.0))
        for record in fit(learner, photos, objective, experiment.num_epochs):
            if isinstance(record, Step):
                keeper.checkpoint_if_due(record)
                yield record
            else:
                yield keeper.finish(record)
    except DivergedError as error:
        raise DivergedError(f"{error}; {keeper.last_good}") from error
    except UnwritableError as error:
        raise UnwritableError(f"{error}, then go on with pairlens train --resume {keeper.place.path}") from error


def resume_run(
    folder: str | Path, loss: Loss | Wrapped | None = None, watch: Callable[[Event], None] | None = None
) -> Run:
    """Go on with an interrupted run to its end; what comes of it is what would have come without the interruption.

    Args:
        folder: the run.
        loss: its loss, if it was wrapped and so is not stored.
        watch: called with every `Step` and every `EpochRow`.
    """
    place = RunFolder(Path(folder))
    for event in resume(place, loss=loss):
        if watch is not None:
            watch(event)
    barrier()
    return Run(place.path, place.experiment(), place.read_outcome())


def evaluate_run(
    folder: str | Path,
    recalls: tuple[int, ...] | None = None,
    *,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Watch | None = None,
    index: IndexName = "exact",
) -> Report:
    """Embed the test photos of a run with its kept model again, write the gallery anew, and report.

    Args:
        folder: a run.
        recalls: other K than the run's own.
        data_path: where the data set lies now, if it has moved.
        device: where to embed.
        progress: wraps the batches to show progress.
        index: how to search; an approximate one is measured, and the report says what it misses.
    """
    place = RunFolder(Path(folder))
    trained = place.experiment()
    experiment = replace(trained, recalls=recalls or trained.recalls, data_path=data_path or trained.data_path)
    with _held(place):
        parts = split_catalog(open_catalog(experiment), experiment)
        model = Embedder.load(place.path, str(choose_device(device)))
        test = embed(model, parts.test, workers=experiment.workers, watch=progress)
        gallery = None
        if parts.gallery is not None:
            gallery = embed(model, parts.gallery, workers=experiment.workers, watch=progress)
        report = evaluate_embeddings(test, gallery, experiment.recalls, index)
        if rank() == 0:
            save_embeddings(place, model, test, gallery)
    return report
