"""State of an optimizer and its schedule in a checkpoint: what can be stored, and whether a stored state fits.

Any optimizer and schedule can be stored whose `state_dict` consists of tensors, numbers, texts, lists, dicts and None. The
form of an optimizer's state is not known before its first step, because most optimizers create it then. So a step is tried
on stand-ins, which are parameters of the same shapes.
"""

from collections import Counter, OrderedDict, defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pairlens.core.memory import is_out_of_memory
from pairlens.core.records import require

# A text that begins like this stands for a tensor in a stored tree, and a key that begins like this for an integer.
TENSOR_PREFIX = "tensor:"
INTEGER_PREFIX = "#"

_SCALARS = (bool, int, float, str, type(None))


def check_storable(optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Raise ValueError if a checkpoint could not store and restore this optimizer and this schedule.

    To be called before the first step, so that a run does not fail at its first checkpoint.
    """
    name = type(optimizer).__name__
    _check_tree(tried_state(optimizer), f"the optimizer {name}")
    _check_tree(schedule.state_dict(), f"the schedule {type(schedule).__name__}")
    # A state that grows could not be compared with a stored one, and a fused step trusts the lengths of its tensors.
    once = tried_state(optimizer)["state"]
    twice = tried_state(optimizer, steps=2)["state"]
    require(
        all(_tensor_forms(once[number]) == _tensor_forms(twice[number]) for number in twice),
        f"the state of the optimizer {name} has other tensors after each step, so it cannot be restored; use another one",
    )


def _check_tree(value: Any, owner: str, path: str = "state") -> None:
    """Raise ValueError naming the first value in a tree that safetensors and JSON cannot store."""
    if isinstance(value, dict):
        for key, item in value.items():
            text = isinstance(key, str) and not key.startswith(INTEGER_PREFIX)
            require(text or type(key) is int, _refusal(owner, path, f"the key {key!r:.40}"))
            _check_tree(item, owner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check_tree(item, owner, f"{path}[{position}]")
    elif isinstance(value, Tensor):
        dense = value.layout is torch.strided and not value.is_complex() and not value.is_quantized
        require(dense, _refusal(owner, path, "a tensor that is not an ordinary one"))
    else:
        is_text = isinstance(value, str) and value.startswith(TENSOR_PREFIX)
        storable = isinstance(value, _SCALARS) and not is_text
        require(storable, _refusal(owner, path, f"of type {type(value).__name__}"))


def _refusal(owner: str, path: str, what: str) -> str:
    return (
        f"{owner} cannot be stored in a checkpoint, because its {path} is or has {what}; a state may hold tensors, numbers, "
        "texts, lists, dicts and None"
    )


def tried_state(optimizer: Optimizer, steps: int = 1) -> dict[str, Any]:
    """Return the `state_dict` that an optimizer would have after steps on parameters like its own, which do not change.

    Each group has one stand-in for each shape and type of its parameters, because only these determine the form of a state.

    Raises:
        ValueError: if the step fails, as where it needs a closure or sparse gradients.

    >>> weight = nn.Parameter(torch.ones(2, 3))
    >>> list(tried_state(torch.optim.NAdam([weight]))["state"][0])
    ['step', 'mu_product', 'exp_avg', 'exp_avg_sq']
    >>> weight.sum().item()
    6.0
    """
    trial = object.__new__(type(optimizer))
    # Without `step`, by which a schedule has replaced the method of the original, and without the hooks of the user.
    hooks = {"_optimizer_step_pre_hooks": OrderedDict(), "_optimizer_step_post_hooks": OrderedDict()}
    trial.__dict__.update({name: value for name, value in vars(optimizer).items() if name != "step"} | hooks)
    trial.state = defaultdict(dict)
    trial.param_groups = []
    for group in optimizer.param_groups:
        originals = list({_shape_and_type(p): p for p in group["params"]}.values())
        stand_ins = [nn.Parameter(torch.zeros_like(p)) for p in originals]
        trial.param_groups.append({**group, "params": stand_ins})
        for original, stand_in in zip(originals, stand_ins, strict=True):
            stand_in.grad = torch.zeros_like(stand_in)
            # Adagrad, for example, creates its state when it is made.
            if original in optimizer.state:
                trial.state[stand_in] = {name: _copy(item) for name, item in optimizer.state[original].items()}
    try:
        for _ in range(steps):
            trial.step()
    # An optimizer of another library can raise anything.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"the optimizer {type(optimizer).__name__} cannot take a step here ({reason}); use one that needs no closure "
            "and takes dense gradients"
        ) from error
    return trial.state_dict()


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _shape_and_type(parameter: Tensor) -> tuple[torch.Size, torch.dtype]:
    return parameter.shape, parameter.dtype


def _tried_state_of_each_parameter(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the state that each parameter would have after a step, in the order of their numbers in a `state_dict`."""
    tried = tried_state(optimizer)["state"]
    states: list[dict[str, Any]] = []
    first = 0
    for group in optimizer.param_groups:
        # In the order of the stand-ins, so the position of a shape and type is that of its stand-in in the group.
        kinds = list(dict.fromkeys(map(_shape_and_type, group["params"])))
        states += [tried.get(first + kinds.index(_shape_and_type(p)), {}) for p in group["params"]]
        first += len(kinds)
    return states


def fit_optimizer_state(optimizer: Optimizer, stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored state of an optimizer, with tuples where the optimizer has them; raises ValueError if it does not fit.

    The check matters for memory safety: a fused optimizer walks through its tensors in memory and assumes that they are as
    long as their parameter, and `load_state_dict` of an optimizer does not check what it loads.
    """
    own = optimizer.state_dict()
    require(own.keys() == stored.keys(), "its optimizer is another")
    others = [name for name in own if name != "state"]
    require(all(_have_same_form(own[name], stored[name]) for name in others), "its optimizer is another")
    expected = _tried_state_of_each_parameter(optimizer)
    for number, state in stored["state"].items():
        require(type(number) is int and 0 <= number < len(expected), f"it has no parameter {number!s:.20}")
        _check_parameter_state(number, expected[number], state)
    states = {number: _in_form_of(expected[number], state) for number, state in stored["state"].items()}
    return {name: states if name == "state" else _in_form_of(own[name], stored[name]) for name in own}


def fit_schedule_state(schedule: LRScheduler, stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored state of a schedule, with its tuples and counters; raises ValueError if it does not fit."""
    own = schedule.state_dict()
    # `load_state_dict` sets every key as an attribute. A schedule may have gained one, but must not lose a method to it.
    gained = stored.keys() - own.keys()
    require(not any(hasattr(schedule, str(name)) for name in gained), "its schedule is another")
    known = {name: value for name, value in stored.items() if name not in gained}
    require(_have_same_form(own, known), "its schedule is another")
    return _in_form_of(own, stored)


def _check_parameter_state(number: int, expected: dict[str, Any], stored: dict[str, Any]) -> None:
    forms = _tensor_forms(expected)
    found = _tensor_forms(stored)
    # The type may be that of another precision, because loading converts it to that of the parameter.
    require(
        {name: shape for name, (shape, _) in forms.items()} == {name: shape for name, (shape, _) in found.items()},
        f"the moments of its parameter {number} have another shape",
    )
    require(
        all(forms[name][1] is found[name][1] for name in forms),
        f"the moments of its parameter {number} have another type",
    )
    plain = {name: value for name, value in expected.items() if name not in forms and name in stored}
    require(
        all(_have_same_form(value, stored[name]) for name, value in plain.items()),
        f"the state of its parameter {number} is another",
    )


def _tensor_forms(state: dict[str, Any]) -> dict[str, tuple[torch.Size, bool]]:
    """Return the shape of each tensor of a parameter's state, and whether it holds floating-point numbers."""
    return {
        name: (value.shape, value.is_floating_point()) for name, value in state.items() if isinstance(value, Tensor)
    }


def _have_same_form(expected: Any, stored: Any) -> bool:
    """Whether both have the same structure of dicts and lists, with values of the same types; None may become anything."""
    kind = _kind(expected)
    if expected is None:
        return True
    if kind is not _kind(stored):
        return False
    # The keys of a counter are its values.
    if kind is dict and not isinstance(expected, Counter):
        return expected.keys() == stored.keys() and all(_have_same_form(expected[key], stored[key]) for key in expected)
    return kind is not list or (len(expected) == len(stored) and all(map(_have_same_form, expected, stored)))


def _kind(value: Any) -> type:
    # JSON stores tuples as lists; a learning rate of 1.0 may be stored as 1; a Counter is a dict. bool precedes int,
    # because True is an instance of both.
    kinds = ((bool, bool), (int | float, float), (list | tuple, list), (dict, dict))
    return next((kind for types, kind in kinds if isinstance(value, types)), type(value))


def _in_form_of(expected: Any, stored: Any) -> Any:
    """Return a stored tree with tuples and counters where the expected one has them; JSON stores lists and dicts instead."""
    if isinstance(expected, Counter):
        return Counter(stored)
    if isinstance(stored, dict):
        known = expected if isinstance(expected, dict) else {}
        return {key: _in_form_of(known.get(key), item) for key, item in stored.items()}
    if isinstance(stored, list):
        known = (
            expected if isinstance(expected, list | tuple) and len(expected) == len(stored) else [None] * len(stored)
        )
        items = [_in_form_of(*pair) for pair in zip(known, stored, strict=True)]
        return tuple(items) if isinstance(expected, tuple) else items
    return stored
