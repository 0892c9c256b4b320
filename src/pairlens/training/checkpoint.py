"""Checkpoint of a learner: one safetensors file, written completely or not at all, and read without running code.

`load_state_dict` of an optimizer does not check what it loads, so a stored state is first checked against the learner.
"""

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from pairlens.core.files import write_tensors
from pairlens.core.untrusted import parse_json
from pairlens.training.epoch_progress import EpochProgress
from pairlens.training.learner import Learner
from pairlens.training.random_state import random_state, set_random_state

CHECKPOINT_FILE = "checkpoint.safetensors"
VERSION = "2"
TENSOR_PREFIX = "tensor:"

# The tensors that each optimizer stores per parameter.
_MOMENTS = {
    Adam: {"step", "exp_avg", "exp_avg_sq"},
    AdamW: {"step", "exp_avg", "exp_avg_sq"},
    SGD: {"momentum_buffer"},
    RMSprop: {"step", "square_avg"},
}


class _OtherVersionError(ValueError):
    pass


def save_checkpoint(learner: Learner, folder: Path, record: Any = None) -> None:
    """Write everything that is needed to resume into a run folder: the learner, its progress, and all random states.

    The file gets its name only when it is complete and on the disk, so after a crash the previous checkpoint is intact.

    Args:
        learner: between two steps.
        folder: the folder of the run.
        record: any further data that JSON can hold; `load_checkpoint` returns it.
    """
    # The keys are those of stored files; "under_way" is the progress of an unfinished epoch, "chance" the random states.
    state = {
        "epoch": learner.epoch,
        "under_way": None if learner.progress is None else learner.progress.state_dict(),
        "model": learner.model.state_dict(),
        "criterion": learner.criterion.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": _plain_schedule(learner.schedule.state_dict()),
        "chance": random_state(),
    }
    tensors: dict[str, Tensor] = {}
    texts = {"version": VERSION, "tree": json.dumps(_flatten(state, "", tensors)), "record": json.dumps(record)}
    write_tensors(folder / CHECKPOINT_FILE, tensors, {**texts, "sum": _checksum(texts, tensors)})


def load_checkpoint(learner: Learner, folder: Path) -> Any:
    """Load a stored state into a learner that was made from the same experiment, and return the record stored with it.

    Raises:
        ValueError: if there is no checkpoint, or if it is damaged, of another version or of another experiment.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        raise ValueError(f"{file} does not exist, so there is no finished epoch to resume from; train a new run")
    try:
        state, record = _read(file)
        check_state(state, learner)
        _load_state(state, learner)
    except _OtherVersionError:
        raise
    # What a manipulated or truncated file raises while it is read or loaded.
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is damaged or of another experiment ({reason}); train a new run") from error
    return record


def _load_state(state: dict[str, Any], learner: Learner) -> None:
    learner.model.load_state_dict(state["model"])
    learner.criterion.load_state_dict(state["criterion"])
    learner.optimizer.load_state_dict(state["optimizer"])
    _match_memory_layout(learner.optimizer)
    learner.schedule.load_state_dict(_live_schedule(state["schedule"]))
    progress = state["under_way"]
    learner.progress = None if progress is None else EpochProgress.from_state(progress)
    learner.epoch = state["epoch"]
    set_random_state(state["chance"])


def _match_memory_layout(optimizer: Optimizer) -> None:
    """Give the moments of each parameter the memory layout of the parameter, such as channels_last.

    A fused step on a CPU walks through both in the order of memory and ignores their strides, which a file does not store.
    Each tensor stays on its device: an optimizer that is not fused has its step number on the CPU, though the parameter is
    on a GPU.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _read(file: Path) -> tuple[dict[str, Any], Any]:
    with safe_open(file, framework="pt") as stored:
        texts = stored.metadata() or {}
        if texts.get("version") != VERSION:
            raise _OtherVersionError(
                f"{file} was written by another version of Pairlens, or is not a checkpoint; resume with the version that "
                "wrote it, or train a new run"
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    checksum = texts.pop("sum", "")
    if checksum != _checksum(texts, tensors):
        raise ValueError("its contents are not what was written")
    return _unflatten(parse_json(texts["tree"]), tensors), parse_json(texts["record"])


def _checksum(texts: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Return a checksum over texts and tensors, which detects a bit that has flipped on the disk."""
    checksum = zlib.crc32(json.dumps(sorted(texts.items())).encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        # The bytes of the tensor, without a copy.
        contents = tensors[name].reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(contents, checksum)  # pyright: ignore[reportArgumentType]
    return str(checksum)


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return a tree in which each tensor is replaced by a reference to it; the tensors are added to `tensors`."""
    if isinstance(value, Tensor):
        # A clone, because safetensors does not store tensors that share memory.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return TENSOR_PREFIX + path
    if isinstance(value, dict):
        # JSON has no integer keys, so the key 3 becomes "#3".
        keys = {key: f"#{key}" if isinstance(key, int) else key for key in value}
        return {name: _flatten(value[key], f"{path}/{name}", tensors) for key, name in keys.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR_PREFIX):
        return tensors[value.removeprefix(TENSOR_PREFIX)]
    if isinstance(value, dict):
        return {int(k[1:]) if k.startswith("#") else k: _unflatten(item, tensors) for k, item in value.items()}
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    return value


def _plain_schedule(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "milestones": dict(state["milestones"])}


def _live_schedule(state: dict[str, Any]) -> dict[str, Any]:
    # MultiStepLR stores its milestones in a Counter, which JSON stores like any dict.
    return {**state, "milestones": Counter(state["milestones"])}


def check_state(state: dict[str, Any], learner: Learner) -> None:
    """Raise ValueError if epoch, schedule, parameter groups or moments do not have the form of those of the learner.

    This matters for memory safety: a fused optimizer walks through the moments in memory and assumes that they are as long
    as their parameter.
    """
    groups = learner.optimizer.state_dict()["param_groups"]
    pairs = [
        (learner.schedule.state_dict(), state["schedule"]),
        *zip(groups, state["optimizer"]["param_groups"], strict=True),
    ]
    if not all(_have_same_form(expected, stored) for expected, stored in pairs):
        raise ValueError("its optimizer or schedule is another")
    _check_moments(learner.optimizer, state["optimizer"]["state"])
    if type(state["epoch"]) is not int or state["epoch"] < 0:
        # Cut, because the value of a damaged file can be very long.
        raise ValueError(f"its epoch is {state['epoch']!r}"[:80])


def _check_moments(optimizer: Optimizer, state: dict[int, dict[str, Any]]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _MOMENTS[type(optimizer)]
    for number, moments in state.items():
        parameter = parameters[number]
        expected = {name: torch.Size() if name == "step" else parameter.shape for name in names}
        if expected != {name: value.shape for name, value in moments.items() if isinstance(value, Tensor)}:
            raise ValueError(f"the moments of its parameter {number} have another shape")
        if not all(value.dtype in (torch.float32, parameter.dtype) for value in moments.values()):
            raise ValueError(f"the moments of its parameter {number} have another type")


def _have_same_form(expected: Any, stored: Any) -> bool:
    """Whether both have the same structure of dicts and lists, with values of the same types."""
    kind = _kind(expected)
    if kind is not _kind(stored):
        return False
    if kind is dict:
        return expected.keys() == stored.keys() and all(_have_same_form(expected[key], stored[key]) for key in expected)
    return kind is not list or (len(expected) == len(stored) and all(map(_have_same_form, expected, stored)))


def _kind(value: Any) -> type:
    # JSON stores tuples as lists; a learning rate of 1.0 may be stored as 1; a Counter is a dict. bool precedes int,
    # because True is an instance of both.
    kinds = ((bool, bool), (int | float, float), (list | tuple, list), (dict, dict))
    return next((kind for types, kind in kinds if isinstance(value, types)), type(value))
