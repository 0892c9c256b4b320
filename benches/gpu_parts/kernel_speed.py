"""Part "kernels": the Triton losses beside the losses of Pairlens, and whether they are worth keeping.

The rule: a kernel is kept if it is at least twice as fast as the fastest way of PyTorch, or if its largest batch is at
least four times as large as the largest of PyTorch. The ways of PyTorch are the loss of Pairlens, eager and compiled, and
chunks of anchors (`row_chunks`); a kernel that is better than the loss of Pairlens but not than the chunks loses to them.
"""

import itertools
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gpu_parts.batch_timing import DIM, PER_CLASS, random_batch, time_step
from gpu_parts.context import PartContext, PartSkippedError
from gpu_parts.row_chunks import RowChunks
from pairlens.losses import Circle, MultiSimilarity, NTXent, SupCon
from pairlens.training.criterion import Criterion

if TYPE_CHECKING:
    from gpu_parts.triton_losses import Tiles

LOSSES = {"circle": Circle(), "multi-similarity": MultiSimilarity(), "SupCon": SupCon(), "NT-Xent": NTXent()}
# A way ends before the batch that would take longer than this, whether or not it would fit; the time grows with its square.
LONGEST_SECONDS = 4.0
# Where a step takes longer than this, it is timed once, after one turn to warm up.
SLOW_SECONDS = 0.1
FASTER, LARGER = 2.0, 4.0
# How far value and gradient may be from those in float64: as many times as far as our eager loss in the same precision, and
# this much where that is exact.
TIMES_AS_FAR, FAR = 4.0, 1e-6
# What torch.set_float32_matmul_precision calls the two precisions in which everything is measured.
TORCH_PRECISION = {"float32": "highest", "tf32": "high"}
Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sizes:
    """What is measured: photos a batch, how many of them the kernels are tuned and checked on, and the repeats."""

    batch: tuple[int, ...]
    tuned_at: int
    checked_at: int
    repeats: int


FULL = Sizes(tuple(512 * 4**power for power in range(7)), tuned_at=8192, checked_at=2048, repeats=5)
DRY = Sizes((40,), tuned_at=24, checked_at=40, repeats=1)


def measure(context: PartContext) -> None:
    """Choose the tiles on circle loss; then measure every loss in float32 and TF32, and store the verdicts."""
    if find_spec("triton") is None:
        raise PartSkippedError(
            "Triton is not installed; it comes with PyTorch for CUDA on Linux, or with pip install triton"
        )
    if context.dry_run:
        # Before Triton is imported: the kernels are then interpreted on the CPU.
        os.environ["TRITON_INTERPRET"] = "1"
    from gpu_parts.triton_losses import Tiles

    sizes = DRY if context.dry_run else FULL
    for precision in TORCH_PRECISION:
        torch.set_float32_matmul_precision(TORCH_PRECISION[precision])
        chosen = context.measure_once(f"tiles, {precision}", lambda p=precision: _best_tiles(p, sizes, context))
        tiles = Tiles(**chosen["tiles"])
        # The interpreter knows no TF32, so one loss shows that everything is called as it should be.
        losses = {"circle": Circle()} if context.dry_run and precision == "tf32" else LOSSES
        for name, loss in losses.items():
            row = context.measure_once(f"{name}, {precision}", lambda: _measure_loss(loss, tiles, sizes, context))  # noqa: B023
            checked = context.measure_once(
                f"{name}, {precision}, apart",
                lambda: _apart(loss, tiles, sizes, context),  # noqa: B023
            )
            context.save(f"{name}, {precision}, verdict", verdict(row, checked))


def candidates(precision: str, dry_run: bool = False) -> "list[Tiles]":
    """Return the tiles to choose from; of those for 512 dimensions none needs more registers than sm_90 has by far."""
    from gpu_parts.triton_losses import Tiles

    if dry_run:
        return [Tiles(rows=32, columns=32, depth=512, precision="ieee" if precision == "float32" else "tf32")]
    if precision == "tf32":
        wide = Tiles(rows=64, columns=64, depth=32, width=512, warps=8, precision="tf32")
        return [wide, replace(wide, rows=32), replace(wide, columns=32), replace(wide, rows=128, width=128)]
    exact = Tiles(rows=32, columns=32, depth=32, width=256, warps=4, precision="ieee")
    return [
        exact,
        replace(exact, rows=64, depth=16, warps=8),
        replace(exact, rows=64, warps=8, precision="tf32x3"),
        replace(exact, warps=8, width=512, precision="tf32x3"),
    ]


def _best_tiles(precision: str, sizes: Sizes, context: PartContext) -> dict[str, Any]:
    """Return the tiles with which circle loss is fastest, and the time of each candidate."""
    from gpu_parts.triton_losses import TritonLoss

    timed: dict[str, Any] = {}
    best: tuple[float, dict[str, Any]] | None = None
    for tiles in candidates(precision, context.dry_run):
        found = _time_once(lambda t=tiles: TritonLoss(Circle(), t), sizes.tuned_at, sizes, context.device)
        timed[" ".join(map(str, vars(tiles).values()))] = found
        if isinstance(found, dict) and (best is None or found["seconds"] < best[0]):
            best = (found["seconds"], vars(tiles))
    if best is None:
        raise RuntimeError(f"no tiles work here: {timed}")
    return {"tiles": best[1], "seconds": timed}


def _measure_loss(loss: Any, tiles: "Tiles", sizes: Sizes, context: PartContext) -> dict[str, Any]:
    """Return, for each way and each size, seconds and peak memory, or why there are none; a way ends when it fails."""
    from gpu_parts.triton_losses import TritonLoss

    torch._dynamo.reset()
    ways: dict[str, Callable[[], Step]] = {
        "eager": lambda: Criterion(loss),
        "compiled": lambda: torch.compile(Criterion(loss), dynamic=True),
        "chunks": lambda: RowChunks(loss),
        "triton": lambda: TritonLoss(loss, tiles),
    }
    row: dict[str, Any] = {}
    for way, make in ways.items():
        row[way] = {}
        expected = 0.0
        for before, size in itertools.pairwise((sizes.batch[0], *sizes.batch)):
            expected *= (size / before) ** 2
            if expected > LONGEST_SECONDS:
                break
            found = row[way][str(size)] = _time_once(make, size, sizes, context.device, expected)
            if isinstance(found, str):
                break
            expected = found["seconds"]
    return row


def _time_once(
    make: Callable[[], Step], size: int, sizes: Sizes, device: torch.device, expected: float = 0.0
) -> dict[str, float] | str:
    """Return seconds and peak memory of a step, or why there are none: too little memory, or tiles that do not fit."""
    from triton.errors import TritonError

    classes = size // PER_CLASS
    repeats, warm_up = (1, 1) if expected > SLOW_SECONDS else (sizes.repeats, 2)
    try:
        return time_step(lambda _: make(), classes, random_batch(size, classes, device), repeats, warm_up)
    except TritonError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    except torch.OutOfMemoryError:
        return "OutOfMemoryError: the batch itself does not fit"


def _apart(loss: Any, tiles: "Tiles", sizes: Sizes, context: PartContext) -> dict[str, float]:
    """Return how far value and gradient are from those of Pairlens in float64, ours in this precision beside them."""
    from gpu_parts.triton_losses import TritonLoss

    # Vectors without classes: where classes are far apart, multi-similarity selects nothing, and all values are 0.
    generator = torch.Generator(context.device).manual_seed(0)
    vectors = torch.randn(sizes.checked_at, DIM, device=context.device, generator=generator)
    labels = torch.arange(sizes.checked_at, device=context.device) // PER_CLASS
    exact, exact_gradient = _value_and_gradient(Criterion(loss), vectors.double(), labels)
    found: dict[str, float] = {}
    for way, step in {"triton": TritonLoss(loss, tiles), "eager": Criterion(loss), "chunks": RowChunks(loss)}.items():
        value, gradient = _value_and_gradient(step, vectors, labels)
        found[f"{way}, value"] = abs(value - exact) / max(1.0, abs(exact))
        found[f"{way}, gradient"] = float((gradient - exact_gradient).norm() / exact_gradient.norm())
    return found


def _value_and_gradient(step: Step, vectors: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    leaf = vectors.clone().requires_grad_()
    value = step(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    return float(value.detach()), leaf.grad.double()


def verdict(row: dict[str, Any], apart: dict[str, float]) -> dict[str, Any]:
    """Return what the rule says of a kernel: the ratios and one word in the key "verdict".

    Args:
        row: for each way and each size, seconds and peak memory, or why there are none.
        apart: how far the value and the gradient of each way are from those in float64.

    >>> seconds = lambda *values: {str(2048 * 2**k): {"seconds": value} for k, value in enumerate(values)}
    >>> row = {"eager": seconds(0.2), "compiled": seconds(0.1), "chunks": seconds(0.2, 0.8), "triton": seconds(0.1, 0.5)}
    >>> same = {f"{way}, {what}": 0.0 for way in ("triton", "eager") for what in ("value", "gradient")}
    >>> found = verdict(row, same)
    >>> found["faster"], found["larger"], found["verdict"]
    (1.0, 2.0, 'not kept')
    """
    product, chunks = {"eager": row["eager"], "compiled": row["compiled"]}, {"chunks": row["chunks"]}
    found = {
        "faster": _times_faster(row["triton"], product),
        "larger": _largest(row["triton"]) / max(1, *map(_largest, product.values())),
        "faster than chunks": _times_faster(row["triton"], chunks),
        "larger than chunks": _largest(row["triton"]) / max(1, *map(_largest, chunks.values())),
        "largest": {way: _largest(measured) for way, measured in row.items()},
    }
    return {**found, "verdict": _word(found, apart)}


def _word(found: dict[str, Any], apart: dict[str, float]) -> str:
    allowed = {what: FAR + TIMES_AS_FAR * apart[f"eager, {what}"] for what in ("value", "gradient")}
    # A comparison with NaN is false.
    if not all(apart[f"triton, {what}"] <= most for what, most in allowed.items()):
        return "wrong"
    if not _is_worth_it(found["faster"], found["larger"]):
        return "not kept"
    if not _is_worth_it(found["faster than chunks"], found["larger than chunks"]):
        return "chunks instead"
    return "kept"


def _is_worth_it(faster: float, larger: float) -> bool:
    return faster >= FASTER or larger >= LARGER


def _times_faster(kernel: dict[str, Any], ways: dict[str, dict[str, Any]]) -> float:
    """Return the median, over the sizes that both can do, of how many times as long the fastest way takes; 0 without any."""
    ratios = []
    for size, found in kernel.items():
        others = [way[size]["seconds"] for way in ways.values() if isinstance(way.get(size), dict)]
        if isinstance(found, dict) and others:
            ratios.append(min(others) / found["seconds"])
    return statistics.median(ratios) if ratios else 0.0


def _largest(way: dict[str, Any]) -> int:
    """Return the largest size that a way could do; 0 if it could do none."""
    return max((int(size) for size, found in way.items() if isinstance(found, dict)), default=0)
