"""Part "losses": the losses on a GPU, eager and compiled, beside pytorch-metric-learning and the bare matrix products."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import losses as cpu_bench
from gpu_parts.batch_timing import PER_CLASS, on_device, random_batch, time_step
from gpu_parts.context import PartContext

# Other work of a step counts as little beside this, and the next size of the same loss may take sixteen times as long.
SLOW_SECONDS = 0.5
# A compilation that takes longer than what is left would be cut off and show nothing.
COMPILE_RESERVE = 2.0


@dataclass(frozen=True)
class Sizes:
    """What is measured: photos a batch, proxies, repeats, and the losses that are compiled, the most used first."""

    batch: tuple[int, ...]
    cubic_at_most: int
    proxy_classes: int
    repeats: int
    compiled: tuple[str, ...]
    only: tuple[str, ...] = ()


FULL = Sizes(
    batch=(512, 2048, 8192, 16384),
    cubic_at_most=512,
    proxy_classes=cpu_bench.PROXY_CLASSES,
    repeats=7,
    compiled=(
        "circle",
        "triplet, batch-hard",
        "multi-similarity",
        "NT-Xent",
        "Proxy-Anchor",
        "SupCon",
        "contrastive",
        "Smooth-AP",
    ),
)
DRY = Sizes((32, 64), 32, 16, 1, ("circle",), only=("circle", "contrastive", "Proxy-Anchor", "NT-Xent"))


def measure(context: PartContext) -> None:
    """Measure every loss eagerly at every size, then compile the most used ones while there is time."""
    sizes = DRY if context.dry_run else FULL
    cases = [case for case in cpu_bench.cases() if not sizes.only or case.name in sizes.only]
    rows: dict[str, dict[str, Any]] = {}
    for case in cases:
        rows[case.name] = context.measure_once(case.name, lambda: _measure_eager(case, sizes, context.device))  # noqa: B023
    longest = 0.0
    for case in sorted(cases, key=lambda case: case.name not in sizes.compiled):
        if case.name not in sizes.compiled:
            break
        if "graph breaks" in rows[case.name]:
            continue  # compiled by a run that was cut off
        if context.seconds_left < COMPILE_RESERVE * longest:
            rows[case.name]["compiled"] = "not reached"
        else:
            start = time.perf_counter()
            _measure_compiled(case, sizes, context.device, rows[case.name])
            longest = max(longest, time.perf_counter() - start)
        context.save(case.name, rows[case.name])


def _measure_eager(case: cpu_bench.Case, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return, for each size, the seconds of ours, of the bare products and of the peer, and our peak memory."""
    row: dict[str, Any] = {}
    slow: set[str] = set()
    for size in sizes.batch:
        classes = _classes(case, size, sizes)
        steps = {"ours": case.ours, "bare": _bare(case)}
        if case.peer is not None and not (case.cubic and size > sizes.cubic_at_most):
            steps["peer"] = case.peer
        found = row[str(size)] = {}
        for name, make in steps.items():
            if name not in slow:
                found[name] = time_step(make, classes, random_batch(size, classes, device), sizes.repeats)
            if isinstance(found.get(name), str) or found.get(name, {}).get("seconds", 0) > SLOW_SECONDS:
                slow.add(name)
    return row


def _measure_compiled(case: cpu_bench.Case, sizes: Sizes, device: torch.device, row: dict[str, Any]) -> None:
    """Add the compiled loss to each size of a row; it is compiled once, for batches of any size."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for size in sizes.batch:
        classes = _classes(case, size, sizes)
        make = lambda classes: torch.compile(on_device(case.ours(classes), device), dynamic=True)  # noqa: E731
        row[str(size)]["compiled"] = time_step(make, classes, random_batch(size, classes, device), sizes.repeats)
    row["graph breaks"] = sum(torch._dynamo.utils.counters["graph_break"].values())


def _classes(case: cpu_bench.Case, size: int, sizes: Sizes) -> int:
    """Return how many classes there are: a batch of four photos a class, or the proxies."""
    return sizes.proxy_classes if case.family == "proxy" else size // PER_CLASS


def _bare(case: cpu_bench.Case) -> Callable[[int], Any]:
    """Return the bare products: with the batch itself, or with as many proxies."""
    return _BareProxies if case.family == "proxy" else lambda classes: cpu_bench.bare


class _BareProxies(nn.Module):
    """Normalise, multiply with the proxies, and add up: no loss."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(classes, cpu_bench.DIM))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of all similarities."""
        return (nn.functional.normalize(embeddings, dim=1) @ nn.functional.normalize(self.vectors, dim=1).T).sum()
