"""Does a state that was read belong to a learner? PyTorch puts whatever it is given where it is told to."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from pairlens.training.fit import Learner

_KEPT = {
    Adam: {"step", "exp_avg", "exp_avg_sq"},
    AdamW: {"step", "exp_avg", "exp_avg_sq"},
    SGD: {"momentum_buffer"},
    RMSprop: {"step", "square_avg"},
}


def refuse_strange(state: dict[str, Any], learner: Learner) -> None:
    """Raise ValueError unless epoch, schedule, groups and moments hold what those of the learner do.

    A fused optimizer walks through the moments from end to end and believes that they are as long as their parameter.
    """
    pairs = [(learner.schedule.state_dict(), state["schedule"])]
    ours, theirs = learner.optimizer.state_dict()["param_groups"], state["optimizer"]["param_groups"]
    pairs += zip(ours, theirs, strict=True)
    if not all(_is_alike(mine, found) for mine, found in pairs):
        raise ValueError("its optimizer or schedule is another")
    _refuse_strange_moments(learner.optimizer, state["optimizer"]["state"])
    if type(state["epoch"]) is not int or state["epoch"] < 0:
        raise ValueError(f"its epoch is {state['epoch']!r}"[:80])


def _refuse_strange_moments(optimizer: Optimizer, state: dict[int, dict[str, Any]]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _KEPT[type(optimizer)]
    for number, kept in state.items():
        shapes = {name: torch.Size() if name == "step" else parameters[number].shape for name in names}
        if shapes != {name: value.shape for name, value in kept.items() if isinstance(value, Tensor)}:
            raise ValueError(f"the moments of its parameter {number} are of another shape")
        if not all(value.dtype in (torch.float32, parameters[number].dtype) for value in kept.values()):
            raise ValueError(f"the moments of its parameter {number} are of another kind")


def _is_alike(mine: Any, found: Any) -> bool:
    """Whether both are built alike of numbers, truths and texts."""
    kind = _kind(mine)
    if kind is not _kind(found):
        return False
    if kind is dict:
        return mine.keys() == found.keys() and all(_is_alike(mine[name], found[name]) for name in mine)
    return kind is not list or (len(mine) == len(found) and all(map(_is_alike, mine, found)))


def _kind(value: Any) -> type:
    # JSON has lists for tuples, a whole learning rate may be an integer, and a Counter is a dict.
    known = ((bool, bool), (int | float, float), (list | tuple, list), (dict, dict))
    return next((kind for kinds, kind in known if isinstance(value, kinds)), type(value))
