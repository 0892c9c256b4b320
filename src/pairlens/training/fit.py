"""The training loop, as a generator of records; its caller decides what to show, evaluate, save, and when to stop."""

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pairlens.core.inputs import as_whole_number
from pairlens.losses.protocols import wants_unit_vectors
from pairlens.model.frozen_stages import freeze_stages
from pairlens.training.data_parallel import wrap_ddp
from pairlens.training.divergence import DivergedError, Rollback
from pairlens.training.epoch_progress import EpochProgress
from pairlens.training.learner import Learner, Objective
from pairlens.training.precision import choose_precision
from pairlens.training.training_step import training_step

TrainingBatch: TypeAlias = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Mapping[str, Tensor]]


class TrainingPhotos(Protocol):
    """Batches of (photos, labels, indices), which differ from epoch to epoch but depend on the epoch's number alone.

    A batch may have a fourth part: a dict of further values of each photo, for a loss that needs them.
    """

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[TrainingBatch]:
        """Yield the batches of one epoch, without the first `start` batches."""
        ...


@dataclass(frozen=True)
class Step:
    """A step is finished; loss and accuracy are means over the epoch so far.

    On a GPU the means are those before this step, and NaN after the first step, because reading the values of this step
    would block until the GPU has finished it.

    Attributes:
        epoch: number of the epoch, from 1.
        step: number of the step within the epoch, from 1.
        steps: number of steps of the epoch.
        photos: number of photos in the batch; 0 if the step was left out.
        loss: mean total loss per photo.
        accuracy: share of photos whose class the auxiliary head predicts; NaN without a head.
    """

    epoch: int
    step: int
    steps: int
    photos: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """An epoch is finished.

    Attributes:
        epoch: its number, from 1.
        loss: mean total loss per photo.
        ranking: mean ranking loss per photo.
        accuracy: share of photos whose class the auxiliary head predicts; NaN without a head.
        seconds: wall time.
        gradient_cosine: cosine of the gradients of ranking and auxiliary loss at the last feature map, in the last step; NaN
            without a head.
        embeddings: (photo, dim) embeddings of the last steps, as they were trained on; about `RECENT_PHOTOS` photos.
        labels: (photo,) their labels.
        skipped: number of steps that were left out because they were not finite.
    """

    epoch: int
    loss: float
    ranking: float
    accuracy: float
    seconds: float
    gradient_cosine: float = math.nan
    embeddings: Tensor | None = field(default=None, compare=False, repr=False)
    labels: Tensor | None = field(default=None, compare=False, repr=False)
    skipped: int = 0


def fit(learner: Learner, photos: TrainingPhotos, objective: Objective, epochs: int) -> Iterator[Step | Epoch]:
    """Train until `epochs` epochs are finished; yields a record after every step and after every epoch.

    Training starts where the learner stands. Between two records the learner can be saved; training that resumes from
    there has the same result as training without the interruption.

    Raises:
        ValueError: before the first step, if a parameter of the criterion is not in the optimizer.
        DivergedError: at the first loss or gradient that is not finite, naming epoch, step and photos; with
            `on_nan="skip"` only after an epoch in which no step was finite.
    """
    epochs = as_whole_number(epochs, "epochs", least=0)
    check_learner(learner)
    if objective.precision == "auto":
        objective = replace(objective, precision=choose_precision(learner.model))
    # `learner.epoch` is part of a checkpoint, so a resumed learner starts behind its last finished epoch.
    while learner.epoch < epochs:
        yield from _fit_epoch(learner, photos, objective, learner.epoch + 1)


def check_learner(learner: Learner) -> None:
    """Raise ValueError if a parameter of the criterion is not in the optimizer."""
    # Compared by identity, because == of two parameters compares their elements.
    optimized = {id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]}
    for name, parameter in learner.criterion.named_parameters():
        if parameter.requires_grad and id(parameter) not in optimized:
            raise ValueError(
                f"the criterion learns {name}, but the optimizer does not have this parameter and would never change it; "
                "give the optimizer criterion.parameters() as well"
            )


def _fit_epoch(learner: Learner, photos: TrainingPhotos, objective: Objective, number: int) -> Iterator[Step | Epoch]:
    progress = learner.progress or EpochProgress()
    learner.progress = progress
    # The time of the steps before an interruption counts too.
    start = time.perf_counter() - progress.seconds
    _prepare_epoch(learner, objective, number)
    # A resumed epoch starts behind the steps that the checkpoint has.
    for batch in photos.epoch(number, progress.step):
        # The cosine of the gradients is measured once per epoch, because it takes two more partial backward passes.
        is_last = progress.step + 1 == len(photos)
        count = _step(learner, progress, objective, batch, number, probe=is_last)
        if learner.schedule_unit == "step":
            # Also after a step that was left out, because such a schedule is made for a number of batches.
            _step_schedule(learner, progress)
        progress.seconds = time.perf_counter() - start
        progress.drain()
        means = progress.means()
        yield Step(number, progress.step, len(photos), count, means.loss, means.accuracy)
    progress.drain(wait=True)
    # Only steps that are not left out add embeddings and labels.
    if not progress.labels:
        raise DivergedError(f"none of the {progress.step} steps of epoch {number} was finite; lower --learning_rate")
    if learner.schedule_unit == "epoch":
        _step_schedule(learner, progress)
    # Set before the record is yielded, so that a checkpoint saved between two records is that of a finished epoch.
    learner.epoch = number
    learner.progress = None
    yield _finished_epoch(number, progress, time.perf_counter() - start)


def _prepare_epoch(learner: Learner, objective: Objective, number: int) -> None:
    """Set what is trained and what is frozen in this epoch, and wrap the model for the ranks accordingly."""
    learner.model.train()
    learner.model.backbone.requires_grad_(True)
    learner.model.freeze_batchnorm(objective.freeze_bn)
    learner.model.raw = not wants_unit_vectors(learner.criterion.loss)
    learner.model.set_micro_batch(objective.micro_batch, objective.freeze_bn)
    freeze_stages(learner.model.backbone, objective.freeze_stages)
    # After `freeze_batchnorm`, which would otherwise unfreeze the BatchNorm of a backbone that is frozen as a whole.
    if number <= objective.warm_up or objective.freeze == "backbone":
        learner.model.backbone.requires_grad_(False)
    learner.network = wrap_ddp(learner.model, learner.criterion, objective.freeze_bn)


def _finished_epoch(number: int, progress: EpochProgress, seconds: float) -> Epoch:
    means = progress.means()
    return Epoch(
        epoch=number,
        loss=means.loss,
        ranking=means.ranking,
        accuracy=means.accuracy,
        seconds=seconds,
        gradient_cosine=progress.cosine,
        embeddings=torch.cat([embeddings.cpu() for embeddings in progress.embeddings]),
        labels=torch.cat([labels.cpu() for labels in progress.labels]),
        skipped=progress.skipped,
    )


def _step_schedule(learner: Learner, progress: EpochProgress) -> None:
    with warnings.catch_warnings():
        # PyTorch warns because a run resumed at the end of an epoch steps the schedule before any step of the optimizer.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        if isinstance(learner.schedule, ReduceLROnPlateau):
            # The only schedule of PyTorch that looks at a figure; here it is the mean loss of the epoch so far.
            learner.schedule.step(progress.means().loss)
        else:
            learner.schedule.step()


def _step(
    learner: Learner,
    progress: EpochProgress,
    objective: Objective,
    batch: TrainingBatch,
    number: int,
    probe: bool,
) -> int:
    """Train on one batch and add its result to the progress; returns the number of photos, 0 if the step is left out."""
    pixels, labels, indices, *further = batch
    device = next(learner.model.parameters()).device
    # The copy takes time at each step, so it is made only if a step may be left out.
    rollback = Rollback(learner.model, learner.criterion) if objective.on_nan == "skip" else None
    progress.step += 1
    progress.cosine = math.nan
    # With deferred reads a step may turn out not to be finite later, so each carries the words that name it.
    where = (
        f"in epoch {number}, step {progress.step} (photos {indices.tolist()}); lower --learning_rate, check these photos, "
        "or leave such steps out with --on_nan skip"
    )
    try:
        outcome = training_step(
            learner,
            objective,
            pixels.to(device, non_blocking=True),
            labels.to(device, non_blocking=True),
            probe=probe,
            extra={name: values.to(device, non_blocking=True) for part in further for name, values in part.items()},
        )
    except FloatingPointError as error:
        if rollback is None:
            raise DivergedError(f"{error}, {where}") from error
        rollback.restore()
        progress.skipped += 1
        return 0
    progress.pending.send(outcome.sums, where)
    progress.cosine = outcome.cosine
    progress.remember(outcome.embeddings, outcome.labels)
    return len(outcome.labels)
