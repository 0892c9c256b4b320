"""The optimizer of network and criterion, with a learning rate for each, and the schedule of the learning rates."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, assert_never

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import MultiStepLR

from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion

Optimizing: TypeAlias = Literal["adam", "adamw", "sgd", "rmsprop"]

MILESTONES = (0.6, 0.8)
DECAY = 0.1
MOMENTUM = 0.9


def make_optimizer(
    model: Embedder,
    criterion: Criterion,
    *,
    kind: Optimizing = "adam",
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
        kind: adam, adamw, sgd with momentum 0.9, or rmsprop.
        learning_rate: learning rate of the backbone.
        head_factor: the layers after the backbone have `head_factor` times its learning rate.
        proxy_learning_rate: learning rate of the parameters of the criterion.
        weight_decay: L2 term of the network's gradient; with adamw its decoupled decay.
        eps: the constant that adam, adamw and rmsprop add to the denominator.
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
    return _optimizer(kind, [group for group in groups if group["params"]], learning_rate, eps)


def _group(parameters: Iterable[Parameter], learning_rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": learning_rate, "weight_decay": weight_decay}


def _optimizer(kind: Optimizing, groups: list[dict[str, Any]], learning_rate: float, eps: float) -> Optimizer:
    # Fused and foreach optimizers update all parameters in a few kernels instead of several per parameter.
    match kind:
        case "adam":
            return Adam(groups, lr=learning_rate, eps=eps, fused=True)
        case "adamw":
            return AdamW(groups, lr=learning_rate, eps=eps, fused=True)
        case "sgd":
            return SGD(groups, lr=learning_rate, momentum=MOMENTUM, fused=True)
        # PyTorch has no fused RMSprop.
        case "rmsprop":
            return RMSprop(groups, lr=learning_rate, eps=eps, foreach=True)
        case _:
            assert_never(kind)


def make_schedule(optimizer: Optimizer, epochs: int) -> MultiStepLR:
    """Return the schedule of the original project: every learning rate × 0.1 at 60 % and again at 80 % of the epochs.

    With fewer than three epochs the original schedule decays before the first epoch, or twice at once; this one does not.

    >>> import torch
    >>> schedule = make_schedule(Adam([torch.zeros(1, requires_grad=True)], lr=1.0), epochs=20)
    >>> sorted(schedule.milestones)
    [12, 16]
    """
    return MultiStepLR(optimizer, sorted({max(1, int(share * epochs)) for share in MILESTONES}), DECAY)
