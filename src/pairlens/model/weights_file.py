"""A file of backbone weights, in whatever way a training script has wrapped them, loaded without running code."""

import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.core.untrusted import first_mismatch, form_of, regular_file

# What `torch.compile` puts into the name of every tensor of a compiled module.
COMPILED = "_orig_mod."
MAX_PREFIXES_NAMED = 4


def load_weights_file(network: nn.Module, file: Path) -> None:
    """Load a file of weights into a network.

    The file holds a state dict, or dicts that hold one, such as {"state_dict": ...} or {"model": ...}. The names of the
    tensors may have any prefix, such as "module." of DataParallel or "backbone.network." of an `Embedder`, and the
    "_orig_mod." of `torch.compile` anywhere. Further tensors, such as those of a classifier, are ignored.

    Raises:
        ValueError: if the file does not exist or cannot be read, if it holds no weights or several different ones that fit,
            or if a tensor is missing, of another shape, or of other numbers than floats.
    """
    if not file.is_file():
        raise ValueError(f"--weights {file} is neither imagenet, none, nor a file; use one of these")
    try:
        stored = load_file(regular_file(file)) if file.suffix == ".safetensors" else _load_pth(file)
    # A damaged or foreign file makes the readers raise errors of many types.
    except Exception as error:
        raise ValueError(
            f"{file} could not be read as weights ({type(error).__name__}); use a file of a state dict"
        ) from error
    candidates = list(_state_dicts(stored))
    if not candidates:
        raise ValueError(f"{file} does not hold tensors by their names; use a file of a state dict")
    network.load_state_dict(_fitting(file, network.state_dict(), candidates))


def _state_dicts(stored: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each dict of a file that holds tensors by their names, with the keys that lead to it; outer dicts first."""
    waiting = deque([("", stored)] if isinstance(stored, Mapping) else [])
    seen = set()
    while waiting:
        path, value = waiting.popleft()
        # A pickled dict may contain itself, or another one many times.
        if id(value) in seen:
            continue
        seen.add(id(value))
        tensors = {str(name).replace(COMPILED, ""): one for name, one in value.items() if isinstance(one, Tensor)}
        if tensors:
            yield path, tensors
        waiting += [(f"{path}{name}/", inner) for name, inner in value.items() if isinstance(inner, Mapping)]


def _fitting(
    file: Path, expected: Mapping[str, Tensor], candidates: list[tuple[str, dict[str, Tensor]]]
) -> dict[str, Tensor]:
    """Return the tensors of a file by the names that a network expects."""
    forms = {name: form_of(tensor) for name, tensor in expected.items()}
    fits: dict[str, dict[str, Tensor]] = {}
    mismatches: list[tuple[int, str]] = []
    for path, tensors in candidates:
        for prefix in _prefixes(expected, tensors):
            named = {name: tensors[prefix + name] for name in expected if prefix + name in tensors}
            mismatch = first_mismatch(forms, {name: form_of(tensor) for name, tensor in named.items()})
            if mismatch is None:
                fits[path + prefix] = named
            else:
                mismatches.append((len(named), mismatch))
    if not fits:
        # The most similar set of tensors is the one that was meant.
        reason = max(mismatches, default=(0, f"{next(iter(expected))} is missing"))[1]
        raise ValueError(f"{file} does not fit this backbone: {reason}; use weights of the same backbone")
    first = next(iter(fits.values()))
    if any(not torch.equal(tensor, first[name]) for other in fits.values() for name, tensor in other.items()):
        names = ", ".join(repr(name.rstrip("./")) for name in list(fits)[:MAX_PREFIXES_NAMED])
        raise ValueError(
            f"{file} holds several different weights that fit: {names}; save one of them as a file of its own"
        )
    return first


def _prefixes(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before the names of a network, as the names in a file say."""
    # The first tensor of a network is as good as any other to find out, because all of them are needed.
    first = next(iter(expected))
    ends = [name for name in tensors if name == first or name.endswith("." + first)]
    return [name.removesuffix(first) for name in ends]


def _load_pth(file: Path) -> Any:
    # PyTorch does not compress a .pth archive. Contents that are larger than the file were packed by another program,
    # possibly to exhaust the memory.
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise ValueError("compressed")
    return torch.load(regular_file(file), "cpu", weights_only=True)
