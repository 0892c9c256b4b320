"""A learner on disk: one safetensors file, written whole or not at all, opened without running code."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from pairlens.core.files import write_tensors
from pairlens.core.reading import parse_json
from pairlens.training.belonging import refuse_strange
from pairlens.training.chance import chance_state, set_chance_state
from pairlens.training.fit import Learner
from pairlens.training.underway import UnderWay

CHECKPOINT_FILE = "checkpoint.safetensors"
VERSION = "2"
TENSOR = "tensor:"


class _OtherVersionError(ValueError):
    pass


def save_checkpoint(learner: Learner, folder: Path, record: Any = None) -> None:
    """Write all that going on needs into a run folder: the learner, how far its epoch has come, and all random states.

    The file appears under its name only when it is complete and on the disk, so a crash leaves the one before.

    Args:
        learner: between two steps.
        folder: of the run.
        record: what else has been found out so far, as JSON can hold it.
    """
    state = {
        "epoch": learner.epoch,
        "under_way": None if learner.under_way is None else learner.under_way.state_dict(),
        "model": learner.model.state_dict(),
        "criterion": learner.criterion.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": _plain_schedule(learner.schedule.state_dict()),
        "chance": chance_state(),
    }
    tensors: dict[str, Tensor] = {}
    names = {"version": VERSION, "tree": json.dumps(_flatten(state, "", tensors)), "record": json.dumps(record)}
    write_tensors(folder / CHECKPOINT_FILE, tensors, {**names, "sum": _sum(names, tensors)})


def load_checkpoint(learner: Learner, folder: Path) -> Any:
    """Put a saved state back into a learner that was made from the same experiment, and return the record beside it.

    Raises:
        ValueError: if there is no checkpoint, or it is damaged, of another version or belongs to another experiment.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        raise ValueError(f"{file} does not exist, so there is no finished epoch to go on from; train anew")
    try:
        state, record = _read(file)
        refuse_strange(state, learner)
        learner.model.load_state_dict(state["model"])
        learner.criterion.load_state_dict(state["criterion"])
        learner.optimizer.load_state_dict(state["optimizer"])
        _lay_out(learner.optimizer)
        learner.schedule.load_state_dict(_live_schedule(state["schedule"]))
        under_way = state["under_way"]
        learner.under_way = None if under_way is None else UnderWay.from_state(under_way)
        learner.epoch = state["epoch"]
        set_chance_state(state["chance"])
    except _OtherVersionError:
        raise
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is damaged or of another experiment ({reason}); train anew") from error
    return record


def _lay_out(optimizer: Optimizer) -> None:
    """Lay in memory what is kept of each parameter as that parameter lies.

    A fused step on a CPU walks through both from end to end and does not look at their strides, which a file has not.
    Each stays on its device: the step number of an optimizer that is not fused is on the CPU beside a parameter on a GPU.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _read(file: Path) -> tuple[dict[str, Any], Any]:
    with safe_open(file, framework="pt") as stored:
        names = stored.metadata() or {}
        if names.get("version") != VERSION:
            raise _OtherVersionError(
                f"{file} was written by another version of Pairlens, or is none of its checkpoints; go on with "
                "that version, or train anew"
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    found = names.pop("sum", "")
    if found != _sum(names, tensors):
        raise ValueError("its contents are not what was written")
    return _unflatten(parse_json(names["tree"]), tensors), parse_json(names["record"])


def _sum(names: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Return a check sum over texts and tensors, which notices a bit that has turned over on the disk."""
    found = zlib.crc32(json.dumps(sorted(names.items())).encode())
    for name in sorted(tensors):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), found)  # pyright: ignore[reportArgumentType]
    return str(found)


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
