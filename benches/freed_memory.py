"""How much time does a network take on a CPU because the system clears freed memory again and again?

    python benches/freed_memory.py          # about four minutes of 2 cores

EfficientNet-Lite0 embeds batches, and training steps with circle loss are made, in a process that leaves the C library as it
comes and in one that calls `keep_freed_memory`, as every command of Pairlens does. The two take turns, so a busy machine
slows both. Writes benches/results/freed_memory.json.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from provenance import RESULTS, about, write_result

FILE = RESULTS / "freed_memory.json"
# Photos of a batch and their size; the last two are larger than the passes in which a collection embeds.
BATCHES = ((16, 128), (5, 224), (32, 128), (32, 224))
TURNS, REPEATS = 3, 8


def embedding(photos: int, size: int) -> Callable[[], object]:
    from pairlens.collection.collection_model import backbone_model

    network = backbone_model("efficientnet_lite0", size).network
    batch = torch.randint(0, 256, (photos, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return lambda: network.embed_batch(batch)


def training(precision: str) -> Callable[[], object]:
    import cpu_step

    cpu_step.BATCH = 64
    return cpu_step.step_of(precision, "port")


def measure(name: str) -> dict[str, float]:
    """Return milliseconds of one repetition and the pages that the system cleared during it."""
    kind, _, rest = name.partition(" ")
    step = training(rest) if kind == "step" else embedding(*map(int, rest.split(" x ")))
    times, pages = [], []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # The first repetitions create the kernels.
    return {"ms": statistics.median(times[2:]), "pages": statistics.median(pages[2:]), "peak_mib": peak}


def in_process(name: str, way: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), name, way]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=dict(os.environ))
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    names = [*(f"embed {photos} x {size}" for photos, size in BATCHES), "step float32", "step bfloat16"]
    found: dict[str, dict[str, object]] = {}
    for name in names:
        turns = [{way: in_process(name, way) for way in ("as it comes", "kept")} for _ in range(TURNS)]
        ratios = [turn["as it comes"]["ms"] / turn["kept"]["ms"] for turn in turns]
        found[name] = {
            "speed": round(statistics.median(ratios), 2),
            "speeds": [round(ratio, 2) for ratio in ratios],
            **{
                way: {key: round(statistics.median(turn[way][key] for turn in turns), 1) for key in turns[0][way]}
                for way in ("as it comes", "kept")
            },
        }
        print(name, json.dumps(found[name]), flush=True)
    write_result(FILE, {"about": about(), "turns": TURNS, "results": found})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        if sys.argv[2] == "kept":
            from pairlens.core.freed_memory import keep_freed_memory

            keep_freed_memory()
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
