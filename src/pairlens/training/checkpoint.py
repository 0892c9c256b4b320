"""Checkpoint of a learner: one safetensors file, written completely or not at all, and read without running code.

The checkpoint before it stays beside it, and is read where the last one is damaged. What can be stored of an optimizer and a
schedule, and whether a stored state fits, is decided by `optimizer_state`; whether a state is good, by `state_norms`.
"""

import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from pairlens.core.files import remove_file, write_tensors
from pairlens.core.untrusted import first_mismatch, form_of, parse_json, regular_file
from pairlens.training.epoch_progress import EpochProgress
from pairlens.training.learner import Learner
from pairlens.training.optimizer_state import (
    INTEGER_PREFIX,
    TENSOR_PREFIX,
    fit_optimizer_state,
    fit_schedule_state,
)
from pairlens.training.random_state import random_state, set_random_state

CHECKPOINT_FILE = "checkpoint.safetensors"
PREVIOUS_CHECKPOINT_FILE = "checkpoint_previous.safetensors"
VERSION = "2"


class _OtherVersionError(ValueError):
    pass


def save_checkpoint(learner: Learner, folder: Path, record: Any = None) -> None:
    """Write everything that is needed to resume into a run folder: the learner, its progress, and all random states.

    The file gets its name only when it is complete and on the disk, so after a crash the previous checkpoint is intact. The
    previous checkpoint stays under a name of its own.

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
        "schedule": learner.schedule.state_dict(),
        # Version 0.1 stored no classes; its states are recognised by their form alone.
        "classes": _classes(learner),
        "chance": random_state(),
    }
    tensors: dict[str, Tensor] = {}
    texts = {"version": VERSION, "tree": json.dumps(_flatten(state, "", tensors)), "record": json.dumps(record)}
    names = {**texts, "sum": _checksum(texts, tensors)}
    write_tensors(folder / CHECKPOINT_FILE, tensors, names, previous=folder / PREVIOUS_CHECKPOINT_FILE)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run folder holds a checkpoint, or the one before it."""
    return any((folder / name).is_file() for name in (CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE))


def remove_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run that is never resumed; the caller holds the lock of its folder."""
    for name in (CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE):
        remove_file(folder / name)


def load_checkpoint(learner: Learner, folder: Path) -> Any:
    """Load a stored state into a learner that was made from the same experiment, and return the record stored with it.

    If the last checkpoint is damaged, the one before it is loaded, with a warning that says so.

    Raises:
        ValueError: if there is no checkpoint, or if all are damaged, of another version or of another experiment.
    """
    file, previous = folder / CHECKPOINT_FILE, folder / PREVIOUS_CHECKPOINT_FILE
    if not has_checkpoint(folder):
        raise ValueError(f"{file} does not exist, so there is no finished epoch to resume from; train a new run")
    try:
        return _load_file(learner, file)
    except ValueError as error:
        if isinstance(error, _OtherVersionError) or not previous.is_file():
            raise
        try:
            record = _load_file(learner, previous)
        except ValueError:
            # Both are of another experiment, or both are damaged; the last one is the one to name.
            raise error from None
        warnings.warn(f"{error}; resumed from {previous}, the checkpoint before it", stacklevel=2)
        return record


def _load_file(learner: Learner, file: Path) -> Any:
    try:
        state, record = _read(file)
        _load_state(_fit_state(state, learner), learner)
    except _OtherVersionError:
        raise
    # What a manipulated or truncated file raises while it is read or loaded.
    except (SafetensorError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is damaged or of another experiment ({reason}); train a new run") from error
    return record


def _load_state(state: dict[str, Any], learner: Learner) -> None:
    learner.model.load_state_dict(state["model"])
    learner.criterion.load_state_dict(state["criterion"])
    learner.optimizer.load_state_dict(state["optimizer"])
    _match_memory_layout(learner.optimizer)
    learner.schedule.load_state_dict(state["schedule"])
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
    with safe_open(regular_file(file), framework="pt") as stored:
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
        # The keys of two dicts may give one path.
        while path in tensors:
            path += "'"
        # A clone, because safetensors does not store tensors that share memory.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return TENSOR_PREFIX + path
    if isinstance(value, dict):
        # JSON has no integer keys, so the key 3 becomes "#3".
        keys = {key: f"{INTEGER_PREFIX}{key}" if isinstance(key, int) else key for key in value}
        return {name: _flatten(value[key], f"{path}/{name}", tensors) for key, name in keys.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR_PREFIX):
        return tensors[value.removeprefix(TENSOR_PREFIX)]
    if isinstance(value, dict):
        keys = {key: int(key[1:]) if key.startswith(INTEGER_PREFIX) else key for key in value}
        return {key: _unflatten(value[name], tensors) for name, key in keys.items()}
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    return value


def _fit_state(state: dict[str, Any], learner: Learner) -> dict[str, Any]:
    """Return a stored state in the form that the learner can load; raises ValueError if it is of another learner."""
    classes = _classes(learner)
    for part, stored in state.get("classes", classes).items():
        if stored != classes.get(part):
            raise ValueError(f"its {part} is {stored!s:.80}, not {classes.get(part)}")
    if type(state["epoch"]) is not int or state["epoch"] < 0:
        # Cut, because the value of a damaged file can be very long.
        raise ValueError(f"its epoch is {state['epoch']!r}"[:80])
    _check_forms(learner.model, state["model"])
    _check_forms(learner.criterion, state["criterion"])
    optimizer = fit_optimizer_state(learner.optimizer, state["optimizer"])
    schedule = fit_schedule_state(learner.schedule, state["schedule"])
    return {**state, "optimizer": optimizer, "schedule": schedule}


def _check_forms(module: nn.Module, state: dict[str, Any]) -> None:
    """Raise ValueError if stored tensors do not have the forms of a module, which `load_state_dict` would convert."""
    expected = {name: form_of(value) for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    stored = {name: form_of(value) for name, value in state.items() if isinstance(value, Tensor)}
    mismatch = first_mismatch(expected, stored)
    if mismatch is not None:
        raise ValueError(mismatch)


def _classes(learner: Learner) -> dict[str, str]:
    # Without the name of the module, which is another one where a script is run than where it is imported.
    return {"optimizer": type(learner.optimizer).__qualname__, "schedule": type(learner.schedule).__qualname__}
