"""The optimizer of network and criterion, with a learning rate for each, and the schedule of the learning rates."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, assert_never

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR

from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion

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


def make_optimizer(
    model: Embedder,
    criterion: Criterion,
    *,
    kind: OptimizerName | OptimizerFactory = "adam",
    learning_rate: float,
    head_factor: float = 1.0,
    proxy_learning_rate: float,
    weight_decay: float,
    eps: float = 1e-8,
) -> Optimizer:
    """Return an optimizer of all parameters of the model and of the criterion.

    Args:
        model: the network.
        criterion: its parameters (proxies, centres, boundaries) have no weight decay, because only the direction of a proxy
            matters.
        kind: adam, adamw, sgd with momentum 0.9, rmsprop, nadam or radam; or a function of parameter groups, which have
            their learning rates and weight decays.
        learning_rate: learning rate of the backbone.
        head_factor: the layers after the backbone have `head_factor` times its learning rate.
        proxy_learning_rate: learning rate of the parameters of the criterion.
        weight_decay: L2 term of the network's gradient; with adamw its decoupled decay.
        eps: the constant that all but sgd add to the denominator; a function of parameter groups chooses its own.
    """
    backbone = list(model.backbone.parameters())
    # Compared by identity, because == of two parameters compares their elements.
    in_backbone = {id(parameter) for parameter in backbone}
    head = [parameter for parameter in model.parameters() if id(parameter) not in in_backbone]
    groups = [
        _group(backbone, learning_rate, weight_decay),
        _group(head, learning_rate * head_factor, weight_decay),
        _group(criterion.parameters(), proxy_learning_rate, 0.0),
    ]
    # A criterion without parameters would make an empty group, which PyTorch does not accept.
    groups = [group for group in groups if group["params"]]
    return _optimizer(kind, groups, learning_rate, eps) if isinstance(kind, str) else kind(groups)


def _group(parameters: Iterable[Parameter], learning_rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": learning_rate, "weight_decay": weight_decay}


def _optimizer(kind: OptimizerName, groups: list[dict[str, Any]], learning_rate: float, eps: float) -> Optimizer:
    # Fused and foreach optimizers update all parameters in a few kernels instead of several per parameter.
    match kind:
        case "adam":
            return Adam(groups, lr=learning_rate, eps=eps, fused=True)
        case "adamw":
            return AdamW(groups, lr=learning_rate, eps=eps, fused=True)
        case "sgd":
            return SGD(groups, lr=learning_rate, momentum=MOMENTUM, fused=True)
        # PyTorch has no fused version of the others.
        case "rmsprop":
            return RMSprop(groups, lr=learning_rate, eps=eps, foreach=True)
        case "nadam":
            return NAdam(groups, lr=learning_rate, eps=eps, foreach=True)
        case "radam":
            return RAdam(groups, lr=learning_rate, eps=eps, foreach=True)
        case _:
            assert_never(kind)


def make_schedule(
    optimizer: Optimizer,
    epochs: int,
    kind: ScheduleName | ScheduleFactory = "step",
    warm_up_epochs: int = 0,
) -> LRScheduler:
    """Return the schedule of every learning rate, which advances after each epoch.

    - step, that of the original project: × 0.1 at 60 % and again at 80 % of the epochs;
    - cosine: × ½ (1 + cos(π t)), where t goes from 0 to 1 over the epochs after the warm-up;
    - constant.

    In the n-th of w warm-up epochs the learning rate is n / (w + 1) times its value. With fewer than three epochs the
    original schedule decays before the first epoch, or twice at once; this one does not.

    Args:
        optimizer: its learning rates are those that the schedule multiplies.
        epochs: number of epochs of the training.
        kind: a name, or a function of the optimizer; see `PerStep` for a schedule that advances after every step.
        warm_up_epochs: w; 0 for a function of the optimizer, which warms up by itself.

    Raises:
        ValueError: if warm-up epochs are given with a function of the optimizer.

    >>> import torch
    >>> schedule = make_schedule(Adam([torch.zeros(1, requires_grad=True)], lr=1.0), epochs=20)
    >>> sorted(schedule.milestones)
    [12, 16]
    """
    if not isinstance(kind, str):
        if warm_up_epochs:
            raise ValueError(
                f"warm_up_epochs {warm_up_epochs} cannot be combined with a schedule of your own; put the warm-up into that "
                "schedule, for example with torch.optim.lr_scheduler.SequentialLR"
            )
        return kind(optimizer)
    milestones = sorted({max(1, int(share * epochs)) for share in MILESTONES})
    if kind == "step" and not warm_up_epochs:
        return MultiStepLR(optimizer, milestones, DECAY)

    def factor(epoch: int) -> float:
        """Return the factor on the learning rate after a number of finished epochs."""
        if epoch < warm_up_epochs:
            return (epoch + 1) / (warm_up_epochs + 1)
        match kind:
            case "step":
                return DECAY ** sum(epoch >= milestone for milestone in milestones)
            case "cosine":
                share = (epoch - warm_up_epochs) / max(1, epochs - warm_up_epochs)
                # At the end of the training the schedule is asked once more, for the epoch that is not trained.
                return (1 + math.cos(math.pi * min(share, 1.0))) / 2
            case "constant":
                return 1.0
            case _:
                assert_never(kind)

    return LambdaLR(optimizer, factor)


def has_step_schedule(kind: ScheduleName | ScheduleFactory) -> bool:
    """Return whether a schedule advances after every step of the optimizer."""
    return isinstance(kind, PerStep)
