"""The optimizer of network and criterion, with a learning rate for each, and the schedule of the learning rates."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, assert_never

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import MultiStepLR

from pairlens.core.settings import Rules, check_settings, setting
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion

Optimizing: TypeAlias = Literal["adam", "adamw", "sgd", "rmsprop"]

MILESTONES = (0.6, 0.8)
DECAY = 0.1
MOMENTUM = 0.9


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rates of its groups of parameters.

    Attributes:
        name: adam, adamw, sgd (momentum 0.9) or rmsprop.
        learning_rate: of the network; multiplied by 0.1 at 60 % and at 80 % of the epochs.
        head_factor: factor on the learning rate for the layers after the backbone.
        proxy_learning_rate: learning rate of the parameters of the loss: proxies, centres, boundaries.
        weight_decay: L2 term of the network (adamw: its decoupled decay).
        eps: the constant that adam, adamw and rmsprop add to the denominator.

    Raises:
        ValueError: for a setting out of its range.
    """

    name: Optimizing = setting("adam", Rules(option="optimizer"))
    learning_rate: float = setting(1e-4, Rules(low=0))
    head_factor: float = setting(1.0, Rules(low=0))
    proxy_learning_rate: float = setting(1e-2, Rules(low=0))
    weight_decay: float = setting(0.0, Rules(low=0))
    eps: float = setting(1e-8, Rules(option="optimizer_eps", above=0))

    def __post_init__(self) -> None:
        check_settings(self)


def make_optimizer(model: Embedder, criterion: Criterion, config: OptimizerConfig) -> Optimizer:
    """Return an optimizer of all parameters of the model and of the criterion.

    The parameters of the criterion (proxies, centres, boundaries) have no weight decay, because only the direction of a
    proxy matters.
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
    rate, eps = config.learning_rate, config.eps
    # Fused and foreach optimizers update all parameters in a few kernels instead of several per parameter.
    match config.name:
        case "adam":
            return Adam(groups, lr=rate, eps=eps, fused=True)
        case "adamw":
            return AdamW(groups, lr=rate, eps=eps, fused=True)
        case "sgd":
            return SGD(groups, lr=rate, momentum=MOMENTUM, fused=True)
        # PyTorch has no fused RMSprop.
        case "rmsprop":
            return RMSprop(groups, lr=rate, eps=eps, foreach=True)
        case _:
            assert_never(config.name)


def make_schedule(optimizer: Optimizer, epochs: int) -> MultiStepLR:
    """Return the schedule of the original project: every learning rate × 0.1 at 60 % and again at 80 % of the epochs.

    With fewer than three epochs the original schedule decays before the first epoch, or twice at once; this one does not.

    >>> import torch
    >>> schedule = make_schedule(Adam([torch.zeros(1, requires_grad=True)], lr=1.0), epochs=20)
    >>> sorted(schedule.milestones)
    [12, 16]
    """
    return MultiStepLR(optimizer, sorted({max(1, int(share * epochs)) for share in MILESTONES}), DECAY)
