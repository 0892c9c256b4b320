"""A learner on disk: one safetensors file, written whole or not at all, opened without running code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pairlens.core.reading import parse_json
from pairlens.training.fit import Learner

CHECKPOINT_FILE = "checkpoint.safetensors"
TENSOR = "tensor:"


def save_checkpoint(learner: Learner, folder: Path) -> None:
    """Write model, criterion, optimizer, schedule, epoch and the random state into a run folder.

    The file appears under its name only when it is complete, so a crash leaves the one before.
    """
    state = {
        "epoch": learner.epoch,
        "model": learner.model.state_dict(),
        "criterion": learner.criterion.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": _plain_schedule(learner.schedule.state_dict()),
        "random": torch.get_rng_state(),
    }
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_flatten(state, "", tensors))
    part = folder / (CHECKPOINT_FILE + ".part")
    save_file(tensors, part, metadata={"tree": tree})
    part.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(learner: Learner, folder: Path) -> None:
    """Put a saved state back into a learner that was made from the same experiment.

    Raises:
        ValueError: if there is no checkpoint, or it is damaged or belongs to another experiment.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        raise ValueError(f"{file} does not exist, so there is no finished epoch to go on from; train anew")
    try:
        state = _read(file)
        _refuse_strange(state, learner)
        learner.model.load_state_dict(state["model"])
        learner.criterion.load_state_dict(state["criterion"])
        learner.optimizer.load_state_dict(state["optimizer"])
        learner.schedule.load_state_dict(_live_schedule(state["schedule"]))
        torch.set_rng_state(state["random"])
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is damaged or of another experiment ({reason}); train anew") from error
    learner.epoch = state["epoch"]


def _read(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
        return _unflatten(parse_json(stored.metadata()["tree"]), tensors)


def _refuse_strange(state: dict[str, Any], learner: Learner) -> None:
    """Raise ValueError unless epoch, schedule and groups hold what ours do: torch puts whatever it is given into them."""
    pairs = [(learner.schedule.state_dict(), state["schedule"])]
    ours, theirs = learner.optimizer.state_dict()["param_groups"], state["optimizer"]["param_groups"]
    pairs += zip(ours, theirs, strict=True)
    for mine, found in pairs:
        kinds = {name: _kind(value) for name, value in mine.items()}
        if kinds != {name: _kind(value) for name, value in found.items()}:
            raise ValueError("its optimizer or schedule is another")
    if type(state["epoch"]) is not int or state["epoch"] < 0:
        raise ValueError(f"its epoch is {state['epoch']!r}"[:80])


def _kind(value: Any) -> type:
    # JSON has lists for tuples, a whole learning rate may be an integer, and a Counter is a dict.
    known = ((bool, bool), (int | float, float), (list | tuple, list), (dict, dict))
    return next((kind for kinds, kind in known if isinstance(value, kinds)), type(value))


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Replace each tensor of a tree by a reference to it, collecting the tensors; integer keys become "#3"."""
    if isinstance(value, Tensor):
        # A clone, because safetensors refuses tensors that share memory.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return TENSOR + path
    if isinstance(value, dict):
        keys = {key: f"#{key}" if isinstance(key, int) else key for key in value}
        return {name: _flatten(value[key], f"{path}/{name}", tensors) for key, name in keys.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, dict):
        return {int(k[1:]) if k.startswith("#") else k: _unflatten(item, tensors) for k, item in value.items()}
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    return value


def _plain_schedule(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "milestones": dict(state["milestones"])}


def _live_schedule(state: dict[str, Any]) -> dict[str, Any]:
    # MultiStepLR counts its milestones in a Counter, which plain data cannot tell from a dict.
    from collections import Counter

    return {**state, "milestones": Counter(state["milestones"])}
