"""What a part of a GPU run is given: where to measure, until when, and where its rows go."""

import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_parts.results import Results


@dataclass(frozen=True)
class PartContext:
    """What a part needs to know.

    Attributes:
        results: where its rows go.
        name: of the part.
        deadline: when it has to be finished, in seconds since 1970.
        dry_run: whether it is to go through everything in small on the CPU.
        data_path: folder of the prepared data sets, if one was given.
        work: folder in which runs are kept, so that they can be resumed; None keeps none.
        earlier: the rows of an earlier run of the same part that was cut off.
    """

    results: Results
    name: str
    deadline: float
    dry_run: bool
    data_path: Path | None
    work: Path | None = None
    earlier: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where to measure."""
        return torch.device("cpu" if self.dry_run else "cuda")

    @property
    def seconds_left(self) -> float:
        """How long the part may still take."""
        return self.deadline - time.time()

    def save(self, key: str, row: Any) -> None:
        """Print and store a row."""
        print(f"{self.name}: {key}: {json.dumps(row)}", flush=True)
        self.results.save(self.name, key, row)

    def measure_once(self, key: str, measure: Callable[[], Any]) -> Any:
        """Return the row that an earlier run has stored, or else measure it and store it."""
        if key in self.earlier:
            print(f"{self.name}: {key}: measured before", flush=True)
            return self.earlier[key]
        row = measure()
        self.save(key, row)
        return row


class PartSkippedError(Exception):
    """A part cannot be measured here for a reason that is no fault, such as a package that is not installed."""


def open_context(
    results: Results, name: str, deadline: float, dry_run: bool, data_path: Path | None, work: Path | None = None
) -> PartContext:
    """Begin a part; raises ValueError if there is no GPU and this is no dry run."""
    if not dry_run and not torch.cuda.is_available():
        raise ValueError("PyTorch sees no GPU here; use --dry_run to go through every part on the CPU")
    if dry_run:
        # Everything is traced, but no code is generated, which takes a minute on a CPU.
        torch.compile = partial(torch.compile, backend="eager")
    earlier = results.begin(name, machine())
    return PartContext(results, name, deadline, dry_run, data_path, work, earlier)


def machine() -> dict[str, Any]:
    """Return date, commit, versions and hardware."""
    about: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": platform.machine(),
        "cpu_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        about |= {"device": card.name, "gigabytes": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return about


def _commit() -> str:
    """Return the commit that is measured, or "unknown" on a machine without git or outside a repository."""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were allocated on a GPU since `forget_peak_memory`; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def forget_peak_memory(device: torch.device) -> None:
    """Free what is cached on a GPU and count its peak memory from here."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
