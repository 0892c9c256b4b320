"""The optimizer of network and criterion, with a learning rate for each, and the schedule of the learning rates."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR

from pairlens.core.named_function import NamedFunction
from pairlens.core.records import require
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.learner import ScheduleUnit

OptimizerName: TypeAlias = Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "radam"]
ScheduleName: TypeAlias = Literal["step", "cosine", "constant"]
# A function of parameter groups, dicts with the keys params, lr and weight_decay, such as any class of `torch.optim`.
OptimizerFactory: TypeAlias = Callable[[list[dict[str, Any]]], Optimizer]
ScheduleFactory: TypeAlias = Callable[[Optimizer], LRScheduler]

MILESTONES = (0.6, 0.8)
DECAY = 0.1
MOMENTUM = 0.9


@dataclass(frozen=True)
class PerStep:
    """A schedule that advances after every step of the optimizer, not after every epoch as schedules otherwise do.

    Attributes:
        factory: makes the schedule of an optimizer.

    >>> import torch
    >>> from torch.optim.lr_scheduler import OneCycleLR
    >>> one_cycle = PerStep(lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=100))
    >>> type(one_cycle(SGD([torch.zeros(1, requires_grad=True)], lr=0.01))).__name__
    'OneCycleLR'
    """

    factory: ScheduleFactory

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        """Return the schedule of an optimizer."""
        return self.factory(optimizer)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rates of its groups of parameters.

    Attributes:
        name: adam, adamw, sgd (momentum 0.9), rmsprop, nadam or radam; in Python also a function of parameter groups,
            such as a class of `torch.optim`.
        schedule: how the learning rates change over the epochs: step (× 0.1 at 60 % and at 80 % of them), cosine (down to
            0 along half a cosine) or constant; in Python also a function of the optimizer, such as a class of
            `torch.optim.lr_scheduler`, in `PerStep` if it advances after every step.
        warm_up_epochs: number of first epochs in which the learning rates rise linearly to their values (`warm_up` is
            another setting: the epochs in which the backbone is frozen).
        learning_rate: of the network, before the schedule changes it.
        head_factor: factor on the learning rate for the layers after the backbone.
        proxy_learning_rate: learning rate of the parameters of the loss: proxies, centres, boundaries.
        weight_decay: L2 term of the network (adamw: its decoupled decay).
        eps: the constant that every named optimizer but sgd adds to the denominator.

    Raises:
        ValueError: for a setting out of its range, or a warm-up together with a schedule of your own.
    """

    name: OptimizerFactory | NamedFunction | OptimizerName = setting("adam", Rules(option="optimizer"))
    schedule: ScheduleFactory | NamedFunction | ScheduleName = "step"
    warm_up_epochs: int = setting(0, Rules(low=0, high=1 << 24))
    learning_rate: float = setting(1e-4, Rules(low=0))
    head_factor: float = setting(1.0, Rules(low=0))
    proxy_learning_rate: float = setting(1e-2, Rules(low=0))
    weight_decay: float = setting(0.0, Rules(low=0))
    eps: float = setting(1e-8, Rules(option="optimizer_eps", above=0))

    def __post_init__(self) -> None:
        check_settings(self)
        require(
            not self.warm_up_epochs or isinstance(self.schedule, str),
            f"--warm_up_epochs {self.warm_up_epochs} cannot be combined with a schedule of your own; put the warm-up into "
            "that schedule, for example with torch.optim.lr_scheduler.SequentialLR",
        )

    @property
    def schedule_unit(self) -> ScheduleUnit:
        """After what the schedule advances."""
        function = self.schedule.function if isinstance(self.schedule, NamedFunction) else None
        return "step" if isinstance(function, PerStep) else "epoch"


def make_optimizer(model: Embedder, criterion: Criterion, config: OptimizerConfig) -> Optimizer:
    """Return an optimizer of all parameters of the model and of the criterion.

    The parameters of the criterion (proxies, centres, boundaries) have no weight decay, because only the direction of a
    proxy matters. A function of parameter groups gets dicts with the keys params, lr and weight_decay.
    """
    backbone = list(model.backbone.parameters())
    # Compared by identity, because == of two parameters compares their elements.
    in_backbone = {id(parameter) for parameter in backbone}
    head = [parameter for parameter in model.parameters() if id(parameter) not in in_backbone]
    groups = [
        _group(backbone, config.learning_rate, config.weight_decay),
        _group(head, config.learning_rate * config.head_factor, config.weight_decay),
        _group(criterion.parameters(), config.proxy_learning_rate, 0.0),
    ]
    # A criterion without parameters would make an empty group, which PyTorch does not accept.
    return _optimizer(config, [group for group in groups if group["params"]])


def _group(parameters: Iterable[Parameter], learning_rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": learning_rate, "weight_decay": weight_decay}


def _optimizer(config: OptimizerConfig, groups: list[dict[str, Any]]) -> Optimizer:
    if callable(config.name):
        return config.name(groups)
    rate = config.learning_rate
    eps = config.eps
    # Fused and foreach optimizers update all parameters in a few kernels instead of several per parameter.
    match config.name:
        case "adam":
            return Adam(groups, lr=rate, eps=eps, fused=True)
        case "adamw":
            return AdamW(groups, lr=rate, eps=eps, fused=True)
        case "sgd":
            return SGD(groups, lr=rate, momentum=MOMENTUM, fused=True)
        # PyTorch has no fused version of the others.
        case "rmsprop":
            return RMSprop(groups, lr=rate, eps=eps, foreach=True)
        case "nadam":
            return NAdam(groups, lr=rate, eps=eps, foreach=True)
        case "radam":
            return RAdam(groups, lr=rate, eps=eps, foreach=True)
        case _:
            assert_never(config.name)


def make_schedule(optimizer: Optimizer, epochs: int, config: OptimizerConfig | None = None) -> LRScheduler:
    """Return the schedule of every learning rate, which advances after each epoch.

    - step, that of the original project: × 0.1 at 60 % and again at 80 % of the epochs;
    - cosine: × ½ (1 + cos(π t)), where t goes from 0 to 1 over the epochs after the warm-up;
    - constant.

    In the n-th of w warm-up epochs the learning rate is n / (w + 1) times its value. With fewer than three epochs the
    original schedule decays before the first epoch, or twice at once; this one does not.

    Args:
        optimizer: its learning rates are those that the schedule multiplies.
        epochs: number of epochs of the training.
        config: the kind of schedule; by default step.

    >>> import torch
    >>> schedule = make_schedule(Adam([torch.zeros(1, requires_grad=True)], lr=1.0), epochs=20)
    >>> sorted(schedule.milestones)
    [12, 16]
    """
    config = config or OptimizerConfig()
    if callable(config.schedule):
        return config.schedule(optimizer)
    if config.schedule == "step" and not config.warm_up_epochs:
        return MultiStepLR(optimizer, _milestones(epochs), DECAY)
    return LambdaLR(optimizer, partial(rate_factor, config.schedule, config.warm_up_epochs, epochs))


def rate_factor(schedule: ScheduleName, warm_up_epochs: int, epochs: int, finished: int) -> float:
    """Return the factor on the learning rates after a number of finished epochs.

    >>> [rate_factor("cosine", 1, 5, finished) for finished in (0, 1, 3)]
    [0.5, 1.0, 0.5]
    """
    if finished < warm_up_epochs:
        return (finished + 1) / (warm_up_epochs + 1)
    match schedule:
        case "step":
            return DECAY ** sum(finished >= milestone for milestone in _milestones(epochs))
        case "cosine":
            share = (finished - warm_up_epochs) / max(1, epochs - warm_up_epochs)
            # A resumed run may have fewer epochs in all than it has finished.
            return (1 + math.cos(math.pi * min(share, 1.0))) / 2
        case "constant":
            return 1.0
        case _:
            assert_never(schedule)


def _milestones(epochs: int) -> list[int]:
    return sorted({max(1, int(share * epochs)) for share in MILESTONES})
