"""Running an experiment: train, evaluate every epoch, keep everything in one folder."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from pairlens.core.ranks import from_first, rank, wait_for_all, world
from pairlens.core.serial import from_plain, to_plain
from pairlens.data.catalog import Catalog
from pairlens.data.loading import TrainingBatches
from pairlens.data.sampling import ClassBatches
from pairlens.evaluation.embed import Embeddings, embed
from pairlens.evaluation.metrics import mean_similarities
from pairlens.evaluation.report import Report, evaluate
from pairlens.experiments.curves import draw_curves
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.folder import EpochRow, Outcome, RunFolder
from pairlens.experiments.learner import choose_device, make_learner, make_objective
from pairlens.experiments.shape import Shape, shape_or_none, whole_classes
from pairlens.experiments.sources import open_catalog
from pairlens.losses import Loss
from pairlens.model.embedder import Embedder
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint
from pairlens.training.criterion import Wrapped
from pairlens.training.fit import RECENT, Epoch, Learner, Step, fit

VALIDATION_SHARE = 0.2

Event: TypeAlias = Step | EpochRow
Watch: TypeAlias = Callable[[Iterable, int], Iterable]


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


@dataclass(frozen=True, eq=False)
class Parts:
    """The photos of a data set by what they are for."""

    train: Catalog
    validation: Catalog | None
    test: Catalog
    gallery: Catalog | None


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
    wait_for_all()
    return Run(place.path, experiment, place.read_outcome())


def train(experiment: Experiment, place: RunFolder, progress: Watch | None = None) -> Iterator[Event]:
    """Start an experiment in a new folder; yields a record for every step and every finished epoch."""
    parts = split(open_catalog(experiment), experiment)
    learner = make_learner(experiment, parts.train.classes)
    photos = _training_batches(experiment, parts.train)
    if rank() == 0:
        place.create(experiment)
    yield from _train(experiment, place, parts, learner, photos, (), progress)


def resume(place: RunFolder, progress: Watch | None = None, loss: Loss | Wrapped | None = None) -> Iterator[Event]:
    """Go on with a run from its last finished epoch; yields as `train` does, nothing if all epochs are finished.

    Args:
        place: the folder of the run.
        progress: wraps the batches to show progress.
        loss: the loss of a run whose loss was wrapped, which is not stored.

    Raises:
        ValueError: if the folder is no run, or its checkpoint is damaged.
    """
    experiment = place.experiment()
    experiment = experiment if loss is None else replace(experiment, loss=loss)
    catalog = open_catalog(experiment)
    started = place.outcome.is_file()
    if started:
        _same_data(catalog, place)
    parts = split(catalog, experiment)
    # The weights it started from are in the checkpoint, and need not be there any more.
    learner = make_learner(replace(experiment, weights="none") if started else experiment, parts.train.classes)
    rows: tuple[EpochRow, ...] = ()
    if started:
        load_checkpoint(learner, place.path)
        rows = tuple(row for row in place.read_outcome().rows if row.epoch <= learner.epoch)
    yield from _train(experiment, place, parts, learner, _training_batches(experiment, parts.train), rows, progress)


def _same_data(catalog: Catalog, place: RunFolder) -> None:
    known = Embeddings.load(place.gallery).catalog
    if known and known != catalog.digest:
        raise ValueError(
            f"{catalog.file} was prepared anew since {place.path} was trained; prepare it as it was, or train a new run"
        )


def split(catalog: Catalog, experiment: Experiment) -> Parts:
    """Return the parts of a data set; with `select="validation"` a fifth of the training classes is held out.

    With `folds` both parts are of training classes, and what is set aside for testing is not touched.
    """
    train_part, validation = catalog.select("train"), None
    if not len(train_part):
        raise ValueError(f"{catalog.file} has no training photos; prepare a data set with a train split")
    if experiment.folds:
        chosen = fold_classes(train_part.classes, experiment.folds, experiment.fold)
        others = sorted(set(range(train_part.classes)) - set(chosen))
        return Parts(train_part.keep_classes(others), None, train_part.keep_classes(chosen), None)
    if experiment.select == "validation":
        held_out = _held_out(train_part.classes, experiment.seed)
        validation = train_part.keep_classes(held_out)
        train_part = train_part.keep_classes(sorted(set(range(train_part.classes)) - set(held_out)))
    if "query" in catalog.splits or "gallery" in catalog.splits:
        if not {"query", "gallery"} <= set(catalog.splits):
            raise ValueError(f"{catalog.file} has query photos or gallery photos, but not both; prepare it with both")
        return Parts(train_part, validation, catalog.select("query"), catalog.select("gallery"))
    test = catalog.select("test")
    if not len(test):
        raise ValueError(f"{catalog.file} has no test photos; prepare a data set with a test split")
    return Parts(train_part, validation, test, None)


def fold_classes(classes: int, folds: int, fold: int) -> list[int]:
    """Return the training classes of one fold: dealt in an order that depends on their number alone, not on a seed.

    Raises:
        ValueError: if a fold, or what is left beside it, would have fewer than two classes.

    >>> fold_classes(6, 3, 0), fold_classes(6, 3, 1), fold_classes(6, 3, 2)
    ([2, 5], [3, 4], [0, 1])
    """
    if classes < 2 * folds or classes < 4:
        raise ValueError(f"{classes} training classes are too few for {folds} folds of at least 2; use fewer --folds")
    return sorted(np.random.default_rng(classes).permutation(classes)[fold::folds].tolist())


def _held_out(classes: int, seed: int) -> list[int]:
    count = max(1, round(classes * VALIDATION_SHARE))
    if classes - count < 2:
        raise ValueError(f"{classes} training classes are too few to hold some out; use --select last")
    return sorted(np.random.default_rng((seed, classes)).permutation(classes)[:count].tolist())


def _training_batches(experiment: Experiment, catalog: Catalog) -> TrainingBatches:
    sampler = ClassBatches(catalog.labels, experiment.batch_size, experiment.per_class, experiment.seed)
    pin = choose_device(experiment.device).type == "cuda"
    return TrainingBatches(
        catalog, sampler, experiment.image_size, experiment.augment, experiment.workers, pin, rank(), world()
    )


def _train(
    experiment: Experiment,
    place: RunFolder,
    parts: Parts,
    learner: Learner,
    photos: TrainingBatches,
    rows: tuple[EpochRow, ...],
    progress: Watch | None,
) -> Iterator[Event]:
    keeper = _Keeper(experiment, place, parts, learner, progress)
    if not rows:
        rows = (keeper.measure(Epoch(0, math.nan, math.nan, math.nan, 0.0)),)
        keeper.keep(rows)
        yield rows[0]
    objective = make_objective(experiment, next(learner.model.parameters()).device)
    for record in fit(learner, photos, objective, experiment.num_epochs):
        if isinstance(record, Step):
            yield record
        else:
            rows += (keeper.measure(record),)
            keeper.keep(rows)
            yield rows[-1]


@dataclass(eq=False)
class _Keeper:
    """Evaluates the model after an epoch and writes what the run has come to."""

    experiment: Experiment
    place: RunFolder
    parts: Parts
    learner: Learner
    progress: Watch | None
    test: Embeddings | None = None
    gallery: Embeddings | None = None

    def measure(self, epoch: Epoch) -> EpochRow:
        start = time.perf_counter()
        self.test = self._embed(self.parts.test)
        self.gallery = self._embed(self.parts.gallery) if self.parts.gallery is not None else None
        validation = self._embed(self.parts.validation) if self.parts.validation is not None else None
        if rank():
            return from_plain(EpochRow, json.loads(from_first("")), "the row of rank 0")
        row = self._row(epoch, start, validation)
        from_first(json.dumps(to_plain(row)))
        return row

    def _row(self, epoch: Epoch, start: float, validation: Embeddings | None) -> EpochRow:
        assert self.test is not None
        pool = () if self.gallery is None else (self.gallery.vectors, self.gallery.labels)
        s_p, s_n = mean_similarities(self.test.vectors, self.test.labels, *pool)
        return EpochRow(
            epoch=epoch.epoch,
            train_loss=_known(epoch.loss),
            train_accuracy=_known(epoch.accuracy),
            report=evaluate_embeddings(self.test, self.gallery, self.experiment.recalls),
            mean_s_p=_known(s_p),
            mean_s_n=_known(s_n),
            seconds=epoch.seconds + time.perf_counter() - start,
            validation=evaluate_embeddings(validation, None, self.experiment.recalls) if validation else None,
            gradient_cosine=_known(epoch.gradient_cosine),
            **self._shapes(epoch, self.test),
        )

    def _shapes(self, epoch: Epoch, test: Embeddings) -> dict[str, Shape | None]:
        if not self.experiment.log_analysis:
            return {}
        some, loss = whole_classes(test.labels, RECENT), self.experiment.loss
        return {
            "seen": shape_or_none(epoch.embeddings, epoch.labels, loss),
            "unseen": shape_or_none(test.vectors[some], test.labels[some], loss),
        }

    def keep(self, rows: tuple[EpochRow, ...]) -> None:
        if rank():
            return
        chosen = best_epoch(rows, self.experiment)
        if chosen == rows[-1].epoch and self.test is not None:
            self.learner.model.save(self.place.path)
            _save_embeddings(self.place, self.test, self.gallery)
        outcome = Outcome(self.experiment.select, chosen, rows)
        self.place.write_outcome(outcome)
        save_checkpoint(self.learner, self.place.path)
        draw_curves(outcome, self.place.path.name, self.place.curves)

    def _embed(self, catalog: Catalog) -> Embeddings:
        e = self.experiment
        return embed(self.learner.model, catalog, batch_size=e.batch_size, workers=e.workers, watch=self.progress)


def _save_embeddings(place: RunFolder, test: Embeddings, gallery: Embeddings | None) -> None:
    (gallery or test).save(place.gallery)
    if gallery is not None:
        test.save(place.queries)


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


def evaluate_embeddings(test: Embeddings, gallery: Embeddings | None, recalls: tuple[int, ...]) -> Report:
    """Return the report of one set searched in itself, or of queries searched in a gallery."""
    if gallery is None:
        return evaluate(test.vectors, test.labels, recalls=recalls)
    return evaluate(test.vectors, test.labels, gallery.vectors, gallery.labels, recalls=recalls)


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
    wait_for_all()
    return Run(place.path, place.experiment(), place.read_outcome())


def evaluate_run(
    folder: str | Path,
    recalls: tuple[int, ...] | None = None,
    *,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Watch | None = None,
) -> Report:
    """Embed the test photos of a run with its kept model again, write the gallery anew, and report.

    Args:
        folder: a run.
        recalls: other K than the run's own.
        data_path: where the data set lies now, if it has moved.
        device: where to embed.
        progress: wraps the batches to show progress.
    """
    place = RunFolder(Path(folder))
    trained = place.experiment()
    experiment = replace(trained, recalls=recalls or trained.recalls, data_path=data_path or trained.data_path)
    parts = split(open_catalog(experiment), experiment)
    model = Embedder.load(place.path, str(choose_device(device)))
    test = embed(model, parts.test, workers=experiment.workers, watch=progress)
    gallery = None
    if parts.gallery is not None:
        gallery = embed(model, parts.gallery, workers=experiment.workers, watch=progress)
    _save_embeddings(place, test, gallery)
    return evaluate_embeddings(test, gallery, experiment.recalls)
