"""Part "step": the training step of a CGD model, the plain loop beside ours, eager and compiled."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import step as cpu_bench
import torch

from gpu_parts.context import PartContext, forget_peak_memory, peak_memory, synchronize
from pairlens.core.settings import with_settings
from pairlens.experiments.build import architecture
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.model.cost import profile

BYTES_A_GB = 1e9
# A forward pass is one part of a step and the backward pass two; a multiply-add counts as two operations.
OPERATIONS_A_MULTIPLY_ADD = 6


@dataclass(frozen=True)
class Sizes:
    """What is measured: backbone, pixels, photos a batch, and how many steps are warmed up and timed."""

    backbone: str
    image_size: int
    batch_size: int
    warm_up: int
    steps: int
    matrix: int


FULL = Sizes("resnet50", 224, 128, warm_up=5, steps=20, matrix=8192)
DRY = Sizes("test_resnet", 32, 8, warm_up=1, steps=2, matrix=256)


def measure(context: PartContext) -> None:
    """Measure each way to take the step alone, the plain loop first and again last to show what the card drifts."""
    sizes = DRY if context.dry_run else FULL
    photos, labels = cpu_bench.photos_of(sizes.batch_size, sizes.image_size, context.device)
    experiment = with_settings(
        Experiment(Circle()),
        {
            "backbone": sizes.backbone,
            "weights": "none",
            "image_size": sizes.image_size,
            "device": context.device.type,
            "precision": "bfloat16",
            "compile": "no",
        },
    )
    rate = matrix_rate(context.device, sizes.matrix)
    multiply_adds = profile(architecture(experiment, cpu_bench.CLASSES)).multiply_adds
    work = OPERATIONS_A_MULTIPLY_ADD * multiply_adds
    context.save("about", {**vars(sizes), "matrix operations a second": rate, "multiply_adds": multiply_adds})
    plain = lambda: cpu_bench.plain_step(sizes.backbone, photos, labels)  # noqa: E731
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "plain loop": plain,
        "ours, eager": lambda: cpu_bench.our_step(experiment, photos, labels),
        "ours, compiled": lambda: cpu_bench.our_step(with_settings(experiment, {"compile": "yes"}), photos, labels),
        "plain loop, bfloat16 autocast": lambda: _under_autocast(plain(), context.device),
        "ours, eager, float32": lambda: cpu_bench.our_step(
            with_settings(experiment, {"precision": "float32"}), photos, labels
        ),
        "plain loop, again": plain,
    }
    for name, make in ways.items():
        context.measure_once(name, lambda: _time_way(make, sizes, context.device, work / rate))  # noqa: B023


def _time_way(
    make: Callable[[], Callable[[], object]], sizes: Sizes, device: torch.device, seconds_at_full_rate: float
) -> dict[str, Any]:
    """Return the row of a way, with the share of the card's rate that its operations reach."""
    row = time_step(make, sizes, device)
    return {**row, "share of the bfloat16 rate": row["images a second"] * seconds_at_full_rate}


def time_step(make: Callable[[], Callable[[], object]], sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Return images a second, peak memory, the seconds until the first step was done, and the graph breaks."""
    gc.collect()
    forget_peak_memory(device)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    start = time.perf_counter()
    step = make()
    step()
    synchronize(device)
    first = time.perf_counter() - start
    for _ in range(sizes.warm_up):
        step()
    times = []
    for _ in range(sizes.steps):
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        times.append(time.perf_counter() - start)
    counters = torch._dynamo.utils.counters
    return {
        "images a second": sizes.batch_size / statistics.median(times),
        "slowest / fastest": max(times) / min(times),
        "peak GB": peak_memory(device) / BYTES_A_GB,
        "seconds to the first step": first,
        "graph breaks": sum(counters["graph_break"].values()),
        "graphs": counters["stats"].get("unique_graphs", 0),
    }


def _under_autocast(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    def autocast_step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            step()

    return autocast_step


def matrix_rate(device: torch.device, side: int) -> float:
    """Return the operations a second of a large bfloat16 product of random matrices, the best of ten."""
    a, b = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(10):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)
