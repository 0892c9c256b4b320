"""A random batch, and how long a loss takes on it with its gradient; used by the parts `losses` and `kernels`."""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gpu_parts.context import forget_peak_memory, peak_memory, synchronize

# As in benches/losses.py, which is not imported here because it imports every loss of pytorch-metric-learning.
DIM, PER_CLASS = 512, 4
BYTES_A_GB = 1e9


def random_batch(size: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (photo, dim) embeddings and (photo,) labels."""
    generator = torch.Generator(device).manual_seed(size)
    labels = torch.arange(size, device=device) // PER_CLASS % classes
    centers = torch.randn(classes, DIM, device=device, generator=generator)
    noise = torch.randn(size, DIM, device=device, generator=generator)
    return centers[labels] + noise, labels


def on_device(step: Any, device: torch.device) -> Any:
    return step.to(device) if isinstance(step, nn.Module) else step


def time_step(
    make: Callable[[int], Any], classes: int, batch: tuple[Tensor, Tensor], repeats: int, warm_up: int = 2
) -> dict[str, float] | str:
    """Return the median seconds of value and gradient and the peak memory, or why there are none."""
    embeddings, labels = batch
    device = embeddings.device
    forget_peak_memory(device)
    try:
        step = on_device(make(classes), device)
        times = [_once(step, embeddings, labels) for _ in range(repeats + warm_up)]
    except (torch.OutOfMemoryError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    finally:
        gc.collect()
    # The first turns warm up: they load kernels and fill the allocator's cache.
    return {"seconds": statistics.median(times[warm_up:]), "peak GB": peak_memory(device) / BYTES_A_GB}


def _once(step: Any, embeddings: Tensor, labels: Tensor) -> float:
    points = embeddings.clone().requires_grad_()
    synchronize(embeddings.device)
    start = time.perf_counter()
    step(points, labels).backward()
    synchronize(embeddings.device)
    return time.perf_counter() - start
