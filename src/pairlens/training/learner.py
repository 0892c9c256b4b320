"""The learner, which is everything that changes during training, and the objective that it minimises."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.training.criterion import Criterion
from pairlens.training.data_parallel import Network, wrap_ddp
from pairlens.training.epoch_progress import EpochProgress

OnNaN: TypeAlias = Literal["stop", "skip"]
Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Objective:
    """What is minimised, and in which arithmetic.

    total = ranking + auxiliary · cross_entropy(logits / temperature, labels, smoothing).

    Attributes:
        auxiliary: weight of the auxiliary classification loss.
        smoothing: label smoothing, at least 0 and below 1.
        temperature: temperature of the softmax.
        freeze_bn: what is frozen in the BatchNorm of the backbone.
        precision: of the network's forward pass; losses are always computed in float32.
        clip_value: largest absolute value of an element of a gradient, larger ones are clipped; 0 clips nothing.
        warm_up: number of first epochs in which the backbone is frozen.
        micro_batch: number of photos that go through the backbone at a time; 0 is the whole batch. The gradient is the same.
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
    """Everything that changes during training, which is what a checkpoint stores.

    Attributes:
        model: the network that embeds photos.
        criterion: the loss, with its parameters and its memory.
        optimizer: the optimizer of model and criterion.
        schedule: the learning rates.
        epoch: number of finished epochs.
        progress: the steps of the unfinished epoch; None between two epochs.
        network: the model as it is trained in this epoch, by one process or by all ranks.
    """

    model: Embedder
    criterion: Criterion
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0
    progress: EpochProgress | None = None
    network: Network = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # BatchNorm can only be synchronised in training mode, so each epoch wraps the model again as it needs it.
        self.network = wrap_ddp(self.model, self.criterion, "statistics")
