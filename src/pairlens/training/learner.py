"""The learner, which is everything that changes during training, and the objective that it minimises."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pairlens.core.records import require
from pairlens.core.settings import RULES, Rules, check_settings, setting
from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.training.criterion import Criterion
from pairlens.training.data_parallel import Network, wrap_ddp
from pairlens.training.epoch_progress import EpochProgress

OnNaN: TypeAlias = Literal["stop", "skip"]
Frozen: TypeAlias = Literal["none", "backbone"]
ScheduleUnit: TypeAlias = Literal["epoch", "step"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Objective:
    """What is minimised, and in which arithmetic.

    total = ranking + auxiliary · cross_entropy(logits / temperature, labels, smoothing).

    Attributes:
        smoothing: label smoothing of the auxiliary classification loss.
        temperature: temperature of its softmax.
        auxiliary: weight of the auxiliary classification loss; 0 trains with the pairwise loss alone.
        freeze_bn: what is frozen in the BatchNorm of the backbone: its statistics, all of it, or none.
        precision: of the network's forward pass; losses are always computed in float32. auto is bfloat16 where that is
            faster: on a GPU that supports it in hardware (Ampere and later), and on a CPU that does (AVX512-BF16, AMX) if
            the backbone has no depthwise convolutions; otherwise float32. Name a precision for runs that must agree
            between machines.
        clip_value: largest absolute value of an element of a gradient, larger ones are clipped; 0 clips nothing.
        warm_up: number of first epochs in which the backbone is frozen.
        freeze: none, or backbone: it is never trained, and a run computes its features only once per photo and view, stores
            them beside the data set and trains the layers after it on them, hundreds of times as fast.
        freeze_stages: number of first stages of the backbone that are never trained, counted from the stem; no gradient is
            computed through them, and their BatchNorm stays as it is.
        micro_batch: number of photos that go through the backbone at a time, which limits its memory; 0 is the whole
            batch. The gradient is the same as that of the whole batch, but takes about a third more time.
        on_nan: a loss or gradient that is not finite stops the run (stop), or its step is left out and counted (skip).

    Raises:
        ValueError: for a setting out of its range.
    """

    smoothing: float = setting(0.1, Rules(low=0, below=1))
    temperature: float = setting(0.5, Rules(above=0))
    auxiliary: float = setting(1.0, Rules(low=0))
    freeze_bn: FreezeBN = "statistics"
    precision: Precision = "auto"
    clip_value: float = setting(0.0, Rules(low=0))
    warm_up: int = setting(0, Rules(low=0, high=1 << 40))
    freeze: Frozen = "none"
    # Left out where it is 0, so that stored settings stay readable for earlier versions.
    freeze_stages: int = field(default=0, metadata={RULES: Rules(low=0, high=1 << 10), "omit_default": True})
    micro_batch: int = setting(0, Rules(low=0, high=1 << 20))
    on_nan: OnNaN = "stop"

    def __post_init__(self) -> None:
        check_settings(self)
        require(
            self.freeze == "none" or self.freeze_bn != "none",
            "--freeze backbone keeps the BatchNorm of the backbone as well; use --freeze_bn statistics",
        )
        require(
            self.freeze == "none" or not self.freeze_stages,
            f"--freeze backbone freezes every stage, so --freeze_stages {self.freeze_stages} adds nothing; leave one out",
        )


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
        schedule_unit: whether the schedule advances after every epoch or after every step.
        network: the model as it is trained in this epoch, by one process or by all ranks.
    """

    model: Embedder
    criterion: Criterion
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0
    progress: EpochProgress | None = None
    schedule_unit: ScheduleUnit = "epoch"
    network: Network = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # BatchNorm can only be synchronised in training mode, so each epoch wraps the model again as it needs it.
        self.network = wrap_ddp(self.model, self.criterion, "statistics")
