"""The one training loop, as a generator of records: whoever consumes them decides to show, evaluate, save or stop."""

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.nn.utils import clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pairlens.core.ranks import gather_equal
from pairlens.core.similarity import working_precision
from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.training.agreement import gradient_cosine, watch_input
from pairlens.training.criterion import Criterion
from pairlens.training.distributed import Network, share_out
from pairlens.training.finite import DivergedError, Undo, gradient_norm, refuse_not_finite
from pairlens.training.underway import UnderWay

OnNaN: TypeAlias = Literal["stop", "skip"]
Precision: TypeAlias = Literal["float32", "bfloat16"]


class TrainingPhotos(Protocol):
    """Batches of (photos, labels, indices), drawn anew for every epoch number."""

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of one epoch, without the first `start`."""
        ...


@dataclass(frozen=True)
class Objective:
    """What is minimised beside the ranking loss, and in which arithmetic.

    total = ranking + auxiliary · cross_entropy(logits / temperature, labels, smoothing).

    Attributes:
        auxiliary: weight of the classification loss; 0 leaves it out.
        smoothing: label smoothing, 0 to 1.
        temperature: of the softmax.
        freeze_bn: what of the backbone's BatchNorm stands still.
        precision: of the network's forward pass; losses are always in float32.
        clip_value: no element of a gradient is let beyond it; 0 clips nothing.
        warm_up: for so many epochs the backbone stands still.
        micro_batch: so many photos go through the backbone at a time; 0 all of a batch. What is learned is the same.
        on_nan: whether a step that is not finite stops the run, or is left out and counted.
    """

    auxiliary: float = 1.0
    smoothing: float = 0.1
    temperature: float = 0.5
    freeze_bn: FreezeBN = "statistics"
    precision: Precision = "float32"
    clip_value: float = 0.0
    warm_up: int = 0
    micro_batch: int = 0
    on_nan: OnNaN = "stop"


@dataclass
class Learner:
    """Everything that changes while training, and so everything a checkpoint holds.

    Attributes:
        epoch: how many epochs are finished.
        under_way: what the next one has come to, if it has begun.
        network: the model as the ranks share it in this epoch.
    """

    model: Embedder
    criterion: Criterion
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0
    under_way: UnderWay | None = None
    network: Network = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Without joining BatchNorm yet: that is for a model in training mode, which each epoch sees to.
        self.network = share_out(self.model, self.criterion, "statistics")


@dataclass(frozen=True)
class Step:
    """One batch of `photos` photos has been learned from; loss and accuracy are means over the epoch so far.

    A batch that was left out has no photos. On a GPU the means are those of the steps before, NaN at the first, because to
    read those of this step would be to wait for it.
    """

    epoch: int
    step: int
    steps: int
    photos: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """One epoch is finished.

    Attributes:
        epoch: its number, from 1.
        loss: mean total loss a photo.
        ranking: mean ranking loss a photo.
        accuracy: share of photos whose class the auxiliary head names, NaN without a head.
        seconds: wall time.
        gradient_cosine: of the ranking and the auxiliary loss at the last map, in the last step; NaN without a head.
        embeddings: (photo, dim) of the last steps, as they were when they were learned from; about `RECENT` photos.
        labels: (photo,) their labels.
        skipped: how many steps were left out, because they were not finite.
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
    """Train up to `epochs` epochs, going on from where the learner is; yields a record a step and a record an epoch.

    Between two records the learner can be saved, and goes on from there as if it had not been interrupted.

    Raises:
        ValueError: before the first step, if a parameter of the criterion is not in the optimizer.
        DivergedError: at the first loss or gradient that is not finite, naming epoch, step and photos; with
            `on_nan="skip"` only after an epoch without a single step that was.
    """
    check_learner(learner)
    while learner.epoch < epochs:
        yield from _fit_epoch(learner, photos, objective, learner.epoch + 1)


def check_learner(learner: Learner) -> None:
    """Raise ValueError if the loss has a parameter that the optimizer would never move."""
    known = {id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]}
    for name, parameter in learner.criterion.named_parameters():
        if parameter.requires_grad and id(parameter) not in known:
            raise ValueError(
                f"the criterion learns {name}, which is not in the optimizer and would never move; give the optimizer "
                "criterion.parameters() as well"
            )


def _fit_epoch(learner: Learner, photos: TrainingPhotos, objective: Objective, number: int) -> Iterator[Step | Epoch]:
    way = learner.under_way = learner.under_way or UnderWay()
    start = time.perf_counter() - way.seconds
    learner.model.train()
    learner.model.backbone.requires_grad_(True)
    learner.model.freeze_batchnorm(objective.freeze_bn)
    learner.model.chunk(objective.micro_batch, objective.freeze_bn)
    if number <= objective.warm_up:
        learner.model.backbone.requires_grad_(False)
    learner.network = share_out(learner.model, learner.criterion, objective.freeze_bn)
    for batch in photos.epoch(number, way.step):
        count = _take(learner, objective, batch, number, probe=way.step + 1 == len(photos))
        way.seconds = time.perf_counter() - start
        way.settle()
        mean = way.sums / way.sums[0]
        yield Step(number, way.step, len(photos), count, float(mean[1]), float(mean[3]))
    way.settle(wait=True)
    if not way.labels:
        raise DivergedError(f"not one of the {way.step} steps of epoch {number} was finite; lower --learning_rate")
    _lower_rates(learner)
    learner.epoch, learner.under_way = number, None
    mean = way.sums / way.sums[0]
    yield Epoch(
        epoch=number,
        loss=float(mean[1]),
        ranking=float(mean[2]),
        accuracy=float(mean[3]),
        seconds=time.perf_counter() - start,
        gradient_cosine=way.cosine,
        embeddings=torch.cat([one.cpu() for one in way.embeddings]),
        labels=torch.cat([one.cpu() for one in way.labels]),
        skipped=way.skipped,
    )


def _lower_rates(learner: Learner) -> None:
    with warnings.catch_warnings():
        # It misses a step of the optimizer where a run goes on from behind the last step of an epoch.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        learner.schedule.step()


def _take(
    learner: Learner, objective: Objective, batch: tuple[Tensor, Tensor, Tensor], number: int, probe: bool
) -> int:
    """Take a step and enter what it came to; returns how many photos it learned from, 0 if it was left out."""
    way = learner.under_way
    assert way is not None
    device = next(learner.model.parameters()).device
    undo = Undo(learner.model, learner.criterion) if objective.on_nan == "skip" else None
    pixels, labels = (x.to(device, non_blocking=True) for x in batch[:2])
    way.step += 1
    way.cosine = math.nan
    place = (
        f"in epoch {number}, step {way.step} (photos {batch[2].tolist()}); lower --learning_rate, look at these photos, or "
        "leave such steps out with --on_nan skip"
    )
    try:
        learned = _learn(learner, objective, pixels, labels, probe=probe)
    except FloatingPointError as error:
        if undo is None:
            raise DivergedError(f"{error}, {place}") from error
        undo()
        way.skipped += 1
        return 0
    way.late.send(learned.sums, place)
    way.cosine = learned.cosine
    way.remember(learned.embeddings, learned.labels)
    return len(learned.labels)


@dataclass(frozen=True, eq=False)
class _Learned:
    """What one step came to: photos, summed total loss, summed ranking loss, right answers, and the loss and the norm of
    its gradient for whoever has to see that they are finite; what it saw.
    """

    sums: Tensor
    embeddings: Tensor
    labels: Tensor
    cosine: float


def _learn(learner: Learner, objective: Objective, pixels: Tensor, labels: Tensor, probe: bool) -> _Learned:
    """Take one step; with `probe` compare what ranking and auxiliary loss want of the backbone."""
    labels = gather_equal(labels)
    with _autocast(pixels.device, objective.precision), watch_input(learner.model.descriptors[0]) as maps:
        embeddings, logits = learner.network(pixels)
    ranking = learner.criterion(embeddings, labels)
    total, right, cosine = ranking, torch.full_like(ranking, torch.nan), math.nan
    if logits is not None:
        auxiliary = _classification(working_precision(logits), labels, objective)
        total = ranking + objective.auxiliary * auxiliary
        right = (logits.argmax(dim=1) == labels).sum()
        cosine = gradient_cosine(ranking, auxiliary, maps[-1]) if probe else math.nan
    learner.optimizer.zero_grad(set_to_none=True)
    total.backward()
    learner.network.settle(learner.criterion)
    norm = _hold_back(learner, objective, total)
    if objective.clip_value:
        clip_grad_value_(_moved(learner), objective.clip_value)
    learner.optimizer.step()
    # Made on the device: to copy a number there would be to wait for it.
    count = torch.full_like(total, len(labels), requires_grad=False)
    sums = torch.stack([count, total * count, ranking * count, right, total, norm]).detach().float()
    return _Learned(sums, embeddings.detach(), labels, cosine)


def _hold_back(learner: Learner, objective: Objective, total: Tensor) -> Tensor:
    """Let no step that is not finite reach a weight; returns the norm of the gradient.

    On a GPU the fused optimizers look at the number there, and the step is known to have failed when it has arrived here.
    """
    optimizer: Any = learner.optimizer
    # What an earlier step left here would silently leave out every step from now on.
    optimizer.grad_scale = optimizer.found_inf = None
    if not (total.is_cuda and objective.on_nan == "stop" and optimizer.defaults.get("fused")):
        refuse_not_finite(total, _moved(learner))
        return torch.zeros_like(total)
    norm = gradient_norm(_moved(learner))
    optimizer.found_inf = (~torch.isfinite(norm + total.detach())).float()
    return norm


def _moved(learner: Learner) -> list[Parameter]:
    return [*learner.model.parameters(), *learner.criterion.parameters()]


def _classification(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    return F.cross_entropy(logits / objective.temperature, labels, label_smoothing=objective.smoothing)


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
