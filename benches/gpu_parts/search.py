"""Part "evaluation": every retrieval metric on a GPU, beside FAISS on the CPU of the same machine, with the same values."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import torch
from torch import Tensor

import evaluation as cpu_bench
from gpu_parts.context import PartContext, forget_peak_memory, peak_memory, synchronize
from pairlens.evaluation.evaluate import evaluate
from pairlens.neighbors.exact import ExactIndex

BYTES_A_GB = 1e9
NEIGHBORS = 10


@dataclass(frozen=True)
class Sizes:
    """One set of embeddings, and how many of its queries FAISS searches; its time is scaled up from those."""

    photos: int
    dim: int
    faiss_queries: int


FULL = (Sizes(60502, 512, 60502), Sizes(1_000_000, 128, 8192))
DRY = (Sizes(1000, 32, 1000), Sizes(2000, 16, 256))


def measure(context: PartContext) -> None:
    """Measure each set: the whole evaluation on the device, FAISS's search alone on the CPU, and how far values differ."""
    for sizes in DRY if context.dry_run else FULL:
        key = f"{sizes.photos} x {sizes.dim}"
        # The last figures of a complete row.
        if "R@1 apart" in context.earlier.get(key, {}):
            continue
        vectors, labels = cpu_bench.drawn(sizes.photos, sizes.dim)
        row = _beside_faiss(vectors, labels, sizes)
        context.save(key, row)
        row |= _on_device(vectors, labels, context.device)
        context.save(key, row)
        row |= _same_values(vectors, labels, sizes, context.device)
        context.save(key, row)


def _on_device(vectors: Tensor, labels: Tensor, device: torch.device) -> dict[str, Any]:
    """Time `evaluate` on the device, the second time too for sets that take under five seconds."""
    vectors, labels = vectors.to(device), labels.to(device)
    forget_peak_memory(device)
    seconds, report = _timed(lambda: evaluate(vectors, labels), device)
    if seconds < 5:
        seconds, report = _timed(lambda: evaluate(vectors, labels), device)
    return {
        "evaluate, seconds": seconds,
        "evaluate, peak GB": peak_memory(device) / BYTES_A_GB,
        "R@1": report["R@1"],
        "MAP@R": report["MAP@R"],
    }


def _beside_faiss(vectors: Tensor, labels: Tensor, sizes: Sizes) -> dict[str, Any]:
    """Time FAISS's exact search alone, as deep as the largest class, and scale it to all queries."""
    index = faiss.IndexFlatIP(sizes.dim)
    index.add(vectors.numpy())
    queries, depth = vectors[: sizes.faiss_queries].numpy(), int(labels.bincount().max())
    seconds, _ = _timed(lambda: index.search(queries, depth), torch.device("cpu"))
    return {
        "FAISS, seconds": seconds * sizes.photos / sizes.faiss_queries,
        "FAISS, queries timed": sizes.faiss_queries,
        "FAISS, CPU threads": faiss.omp_get_max_threads(),
    }


def _same_values(vectors: Tensor, labels: Tensor, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Compare neighbours and metrics with those of the CPU, for the queries that FAISS has searched."""
    rows = torch.arange(min(sizes.faiss_queries, 8192))
    here = ExactIndex(vectors).search(vectors[rows], NEIGHBORS, rows)
    there = ExactIndex(vectors.to(device)).search(vectors[rows].to(device), NEIGHBORS, rows.to(device))
    hits = [(labels[found.indices.cpu()] == labels[rows, None]).double() for found in (here, there)]
    return {
        "same neighbour, share": float((here.indices == there.indices.cpu()).double().mean()),
        "similarities apart at most": float((here.scores - there.scores.cpu()).abs().max()),
        "R@1 apart": float((hits[0][:, 0].mean() - hits[1][:, 0].mean()).abs()),
        "P@10 apart": float((hits[0].mean() - hits[1].mean()).abs()),
    }


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    synchronize(device)
    start = time.perf_counter()
    result = work()
    synchronize(device)
    return time.perf_counter() - start, result
