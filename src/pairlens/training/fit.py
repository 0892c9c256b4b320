"""The one training loop, as a generator of records: whoever consumes them decides to show, evaluate, save or stop."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pairlens.core.ranks import gather_equal
from pairlens.core.similarity import working_precision
from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.training.agreement import gradient_cosine, watch_output
from pairlens.training.criterion import Criterion
from pairlens.training.distributed import Network, share_out

RECENT = 512
Precision: TypeAlias = Literal["float32", "bfloat16"]


class TrainingPhotos(Protocol):
    """Batches of (photos, labels, indices), drawn anew for every epoch number."""

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of one epoch."""
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
    """

    auxiliary: float = 1.0
    smoothing: float = 0.1
    temperature: float = 0.5
    freeze_bn: FreezeBN = "statistics"
    precision: Precision = "float32"
    clip_value: float = 0.0
    warm_up: int = 0


@dataclass
class Learner:
    """Everything that changes while training, and so everything a checkpoint holds.

    Attributes:
        epoch: how many epochs are finished.
        network: the model as the ranks share it in this epoch.
    """

    model: Embedder
    criterion: Criterion
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0
    network: Network = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.network = share_out(self.model, self.criterion)


@dataclass(frozen=True)
class Step:
    """One batch of `photos` photos has been learned from; loss and accuracy are means over the epoch so far."""

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
    """

    epoch: int
    loss: float
    ranking: float
    accuracy: float
    seconds: float
    gradient_cosine: float = math.nan
    embeddings: Tensor | None = field(default=None, compare=False, repr=False)
    labels: Tensor | None = field(default=None, compare=False, repr=False)


def fit(learner: Learner, photos: TrainingPhotos, objective: Objective, epochs: int) -> Iterator[Step | Epoch]:
    """Train up to `epochs` epochs, going on from `learner.epoch`; yields a record a step and a record an epoch.

    Raises:
        ValueError: before the first step, if a parameter of the criterion is not in the optimizer.
        FloatingPointError: at the first loss that is not finite, naming epoch, step and photos.
    """
    check_learner(learner)
    for number in range(learner.epoch + 1, epochs + 1):
        yield from _fit_epoch(learner, photos, objective, number)


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
    start = time.perf_counter()
    learner.model.train()
    learner.model.backbone.requires_grad_(True)
    learner.model.freeze_batchnorm(objective.freeze_bn)
    if number <= objective.warm_up:
        learner.model.backbone.requires_grad_(False)
    learner.network = share_out(learner.model, learner.criterion, objective.freeze_bn)
    device = next(learner.model.parameters()).device
    sums = torch.zeros(4)  # photos, total loss, ranking loss, right answers
    recent: deque[_Learned] = deque()
    for step, (pixels, labels, indices) in enumerate(photos.epoch(number), 1):
        here = [x.to(device, non_blocking=True) for x in (pixels, labels)]
        learned = _learn(learner, objective, here[0], here[1], probe=step == len(photos))
        sums += learned.sums.cpu()
        if not torch.isfinite(sums[1]):
            raise FloatingPointError(
                f"the loss became {float(learned.sums[1])} in epoch {number}, step {step} (photos {indices[:8].tolist()} "
                "and others); lower --learning_rate or look at these photos"
            )
        _remember(recent, learned)
        mean = sums / sums[0]
        yield Step(number, step, len(photos), int(learned.sums[0]), float(mean[1]), float(mean[3]))
    learner.schedule.step()
    learner.epoch = number
    mean = sums / sums[0]
    yield Epoch(
        epoch=number,
        loss=float(mean[1]),
        ranking=float(mean[2]),
        accuracy=float(mean[3]),
        seconds=time.perf_counter() - start,
        gradient_cosine=recent[-1].cosine,
        embeddings=torch.cat([one.embeddings for one in recent]).float().cpu(),
        labels=torch.cat([one.labels for one in recent]).cpu(),
    )


@dataclass(frozen=True, eq=False)
class _Learned:
    """What one step came to: photos, summed total loss, summed ranking loss, right answers; what it saw."""

    sums: Tensor
    embeddings: Tensor
    labels: Tensor
    cosine: float


def _remember(recent: deque[_Learned], learned: _Learned) -> None:
    """Keep the last steps, at least `RECENT` photos of them."""
    recent.append(learned)
    while sum(len(one.labels) for one in recent) - len(recent[0].labels) >= RECENT:
        recent.popleft()


def _learn(learner: Learner, objective: Objective, pixels: Tensor, labels: Tensor, probe: bool) -> _Learned:
    """Take one step; with `probe` compare what ranking and auxiliary loss want of the backbone."""
    labels = gather_equal(labels)
    with _autocast(pixels.device, objective.precision), watch_output(learner.model.backbone) as maps:
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
    if objective.clip_value:
        clip_grad_value_([*learner.model.parameters(), *learner.criterion.parameters()], objective.clip_value)
    learner.optimizer.step()
    count = torch.tensor(len(labels), device=total.device)
    sums = torch.stack([count, total.detach() * count, ranking.detach() * count, right.float()]).float()
    return _Learned(sums, embeddings.detach(), labels, cosine)


def _classification(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    return F.cross_entropy(logits / objective.temperature, labels, label_smoothing=objective.smoothing)


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
