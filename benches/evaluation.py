"""How much time and memory does evaluation take? `python benches/evaluation.py --part search|peer|growth|approximate`.

search: every metric for 60,502 × 512 vectors, compared with the exact search of FAISS alone; k is that of SOP's class sizes,
    and 1,000.
peer: compared with the AccuracyCalculator of pytorch-metric-learning for 10,000 and 60,502 × 128 vectors: with its defaults
    (k = None; for 10,000 vectors only, because for 20,000 it ran out of memory on a machine of 22 GB), and with k =
    max_bin_count; and compared with FAISS alone, the minimum of any exact evaluation.
growth: time and memory from 25,000 to 200,000 × 128 vectors.
approximate: IVF and HNSW compared with exact search for 300,000 × 128 vectors, also for vectors that vary in 16 directions
    only: learned vectors vary in few directions, and noise in all 128 has no clusters that an index could use.

Each measurement runs in a process of its own. Memory is the peak of the resident set, less its size after the embeddings and
the libraries were loaded. The embeddings are random: unit class centres with noise, in classes of 2 to 10 photos as in SOP.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import faiss
import torch
import tyro
from provenance import processor

from pairlens.evaluation.evaluate import evaluate
from pairlens.neighbors.approximate import ApproximateIndex, Hnsw, Ivf
from pairlens.neighbors.exact import ExactIndex

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
SOP, CLASSES = 60502, 11316
USUAL, DEEP = (1, 2, 4, 8), (1, 10, 100, 1000)
Job = Literal[
    "ours", "ours_deep", "faiss", "faiss_deep", "ours_r", "faiss_r", "pml", "pml_default", "ivf", "hnsw", "exact"
]


@dataclass(frozen=True)
class Options:
    """Options: what to measure.

    Attributes:
        part: which question; see above.
        repeats: how often each is measured, in turn.
        job: one measurement in this process, printed as JSON (used by the bench itself).
        photos: of that measurement.
        dim: of that measurement.
        directions: in how many the drawn vectors vary; 0: in all.
    """

    part: Literal["search", "peer", "growth", "approximate"] = "search"
    repeats: int = 3
    job: Job | None = None
    photos: int = SOP
    dim: int = 512
    directions: int = 0


def drawn(photos: int, dim: int, directions: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors and labels: 11,316 classes for 60,502 photos, of 2 to about 10."""
    if directions:
        few, labels = drawn(photos, directions)
        turned = torch.randn(directions, dim, generator=torch.Generator().manual_seed(1))
        return torch.nn.functional.normalize(few @ turned, dim=1), labels
    draw = torch.Generator().manual_seed(0)
    classes = round(photos * CLASSES / SOP)
    labels = torch.cat(
        [torch.arange(classes).repeat(2), torch.randint(classes, (photos - 2 * classes,), generator=draw)]
    )
    centers = torch.nn.functional.normalize(torch.randn(classes, dim, generator=draw), dim=1)
    noise = torch.randn(photos, dim, generator=draw)
    noise *= 1.3 / math.sqrt(dim)
    return torch.nn.functional.normalize(noise.add_(centers[labels]), dim=1), labels


def measure(job: Job, photos: int, dim: int, directions: int) -> dict[str, Any]:
    """Run one measurement; returns seconds, processor seconds, bytes above the embeddings, and values."""
    vectors, labels = drawn(photos, dim, directions)
    largest = int(labels.bincount().max())
    work = WORK[job](vectors, labels, largest)
    # Reset the peak of the resident set to its current size.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    held, start, used = resident("VmRSS"), time.perf_counter(), time.process_time()
    values = work()
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - used,
        "megabytes": (resident("VmHWM") - held) / 1e6,
        "values": values,
        "largest_class": largest,
    }


def resident(which: Literal["VmRSS", "VmHWM"]) -> int:
    """Return the resident bytes, current or peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(which))
    return int(line.split()[1]) * 1024


def ours(recalls: tuple[int, ...]) -> Callable[..., Any]:
    """Return the complete evaluation by Pairlens with these ranks."""

    def prepare(vectors: torch.Tensor, labels: torch.Tensor, _largest: int) -> Callable[[], Any]:
        return lambda: {m.name: m.value for m in evaluate(vectors, labels, recalls=recalls).metrics}

    return prepare


def bare(depth: int) -> Callable[..., Any]:
    """Return the search by FAISS alone, as deep as the largest class, or with this many results beside the query itself."""

    def prepare(vectors: torch.Tensor, _labels: torch.Tensor, largest: int) -> Callable[[], Any]:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors.numpy())
        return lambda: len(index.search(vectors.numpy(), max(largest, depth + 1))[0])

    return prepare


def peer(depth: Literal["max_bin_count"] | None) -> Callable[..., Any]:
    """Return the same three metrics, computed by pytorch-metric-learning."""

    def prepare(vectors: torch.Tensor, labels: torch.Tensor, _largest: int) -> Callable[[], Any]:
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        metrics = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
        calculator = AccuracyCalculator(include=metrics, k=depth, device=torch.device("cpu"))
        names = dict(zip(metrics, ("R@1", "R-Precision", "MAP@R"), strict=True))
        return lambda: {names[k]: float(v) for k, v in calculator.get_accuracy(vectors, labels).items() if k in names}

    return prepare


def approximate(settings: Ivf | Hnsw | None) -> Callable[..., Any]:
    """Return the building and searching of an index with 2,048 queries, and the share of the 10 nearest that it finds."""

    def prepare(vectors: torch.Tensor, _labels: torch.Tensor, _largest: int) -> Callable[[], Any]:
        def work() -> dict[str, Any]:
            start = time.perf_counter()
            index = ExactIndex(vectors) if settings is None else ApproximateIndex(vectors, settings)
            built = time.perf_counter()
            rows = torch.arange(2048) * len(vectors) // 2048
            index.search(vectors[rows], 10, rows)
            times = {"build_seconds": built - start, "search_seconds": time.perf_counter() - built}
            if isinstance(index, ExactIndex):
                return times | {"recall": 1.0}
            return times | {"recall": index.measure(vectors, 10, rows, rows).recall}

        return work

    return prepare


WORK: dict[str, Callable[..., Callable[[], Any]]] = {
    "ours": ours(USUAL),
    "ours_deep": ours(DEEP),
    "ours_r": ours((1,)),
    "faiss": bare(max(USUAL)),
    "faiss_deep": bare(max(DEEP)),
    "faiss_r": bare(1),
    "pml": peer("max_bin_count"),
    "pml_default": peer(None),
    "exact": approximate(None),
    "ivf": approximate(Ivf()),
    "hnsw": approximate(Hnsw()),
}


def apart(job: Job, photos: int, dim: int, directions: int = 0) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    words = [sys.executable, __file__, "--job", job, "--photos", str(photos), "--dim", str(dim)]
    words += ["--directions", str(directions)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, encoding="utf-8").stdout.splitlines()[-1])
    shown = {k: round(v, 2) for k, v in found.items() if isinstance(v, float)}
    print(
        f"{job:10} {photos:7} x {dim}: {shown} {found['values'] if 'recall' in str(found['values']) else ''}",
        flush=True,
    )
    return found


def in_turn(jobs: tuple[Job, ...], photos: int, dim: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Return the median of several measurements of each job, measured alternately."""
    found: dict[str, list[dict[str, Any]]] = {job: [] for job in jobs}
    for _ in range(repeats):
        for job in jobs:
            found[job].append(apart(job, photos, dim))
    return {
        job: runs[0] | {key: statistics.median(run[key] for run in runs) for key in NUMBERS}
        for job, runs in found.items()
    }


NUMBERS = ("seconds", "processor_seconds", "megabytes")


def ratio(found: dict[str, dict[str, Any]], job: str, peer_job: str) -> dict[str, float]:
    """Return the ratio of the durations of two jobs."""
    return {key: found[job][key] / found[peer_job][key] for key in NUMBERS[:2]}


def search(repeats: int) -> dict[str, Any]:
    """Compare the complete evaluation with FAISS alone."""
    found = in_turn(("ours", "faiss", "ours_deep", "faiss_deep"), SOP, 512, repeats)
    ratios = {"usual": ratio(found, "ours", "faiss"), "deep": ratio(found, "ours_deep", "faiss_deep")}
    return {"measured": found, "ours_to_faiss": ratios}


def beside_peer(repeats: int) -> dict[str, Any]:
    """Compare with the same metrics by pytorch-metric-learning."""
    sizes = {}
    for photos in (10_000, SOP):
        peers: tuple[Job, ...] = ("pml",) if photos == SOP else ("pml", "pml_default")
        found = in_turn(("ours_r", "faiss_r", *peers), photos, 128, repeats)
        mine = found["ours_r"]["values"]
        sizes[str(photos)] = {
            "measured": found,
            "to_ours": {job: ratio(found, job, "ours_r") for job in ("faiss_r", *peers)},
            "values_apart": max(
                abs(mine[name] - value) for job in peers for name, value in found[job]["values"].items()
            ),
        }
        print(json.dumps(sizes[str(photos)]["to_ours"]), flush=True)
    return sizes


def growth(_repeats: int) -> dict[str, Any]:
    """Measure time and memory over the number of photos, with the slopes on logarithmic scales."""
    sizes = (25_000, 50_000, 100_000, 200_000)
    runs = [apart("ours", photos, 128) for photos in sizes]
    slopes = {key: slope(sizes, [run[key] for run in runs]) for key in NUMBERS}
    return {"sizes": dict(zip(map(str, sizes), runs, strict=True)), "slopes": slopes}


def slope(sizes: tuple[int, ...], values: list[float]) -> float:
    """Return the exponent b of values ~ sizes^b by least squares."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(v) for v in values]).slope


def beside_exact(_repeats: int) -> dict[str, Any]:
    """Compare IVF and HNSW with exact search."""
    jobs: tuple[Job, ...] = ("exact", "ivf", "hnsw")
    return {name: {job: apart(job, 300_000, 128, few) for job in jobs} for name, few in (("all", 0), ("16", 16))}


def main(options: Options) -> None:
    """Measure one part and store it with the others."""
    if options.job is not None:
        print(json.dumps(measure(options.job, options.photos, options.dim, options.directions)))
        return
    parts = {"search": search, "peer": beside_peer, "growth": growth, "approximate": beside_exact}
    found = parts[options.part](options.repeats)
    versions = {name: version(name) for name in ("torch", "faiss-cpu", "numpy", "pytorch-metric-learning")}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    about = {
        "commit": commit.strip(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": processor(),
        "versions": versions,
    }
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(kept | {options.part: {"about": about} | found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in found.items() if k in ("ours_to_faiss", "slopes")}, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Options))
