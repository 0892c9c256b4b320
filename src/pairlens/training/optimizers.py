"""Adam over the network and, at its own rate, over what the criterion learns; the rate falls in two steps."""

from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from pairlens.training.criterion import Criterion

MILESTONES = (0.6, 0.8)
DECAY = 0.1


def make_optimizer(
    model: nn.Module, criterion: Criterion, *, learning_rate: float, proxy_learning_rate: float, weight_decay: float
) -> Adam:
    """Return Adam over every parameter of the model and of the criterion.

    Args:
        model: its parameters learn at `learning_rate`.
        criterion: its parameters (proxies, centres) learn at `proxy_learning_rate`, without weight decay because only
            their direction counts.
        learning_rate: of the network.
        proxy_learning_rate: of proxies and centres.
        weight_decay: L2 term of the network's gradient, as Adam of PyTorch defines it.
    """
    groups = [{"params": list(model.parameters()), "lr": learning_rate, "weight_decay": weight_decay}]
    learned = list(criterion.parameters())
    if learned:
        groups.append({"params": learned, "lr": proxy_learning_rate, "weight_decay": 0.0})
    return Adam(groups, lr=learning_rate)


def make_schedule(optimizer: Adam, epochs: int) -> MultiStepLR:
    """Return the schedule of history: every rate × 0.1 at 60 % and again at 80 % of the epochs.

    No rate falls before the first epoch and none twice at once, as history's do when there are fewer than three epochs.

    >>> import torch
    >>> schedule = make_schedule(Adam([torch.zeros(1, requires_grad=True)], lr=1.0), epochs=20)
    >>> sorted(schedule.milestones)
    [12, 16]
    """
    return MultiStepLR(optimizer, sorted({max(1, int(share * epochs)) for share in MILESTONES}), DECAY)
