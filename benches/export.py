"""How much faster is an exported model than PyTorch on one thread of a CPU, and how soon is its first vector there?

    python benches/export.py --backbones efficientnet_lite0 resnet50
    python benches/export.py --as_pairlens        # again, into the same file

The forward passes of PyTorch (eager, evaluation mode, channels last, BatchNorm as layers of its own, as anybody would run
the network) and of onnxruntime take turns in rounds, so that other work on the machine meets both; the figure is the median
of the ratios of the rounds. With `--as_pairlens` both embed as a collection does: BatchNorm is fused, convolutions are
packed, freed memory is kept, a batch is divided into passes, and every convolution goes to oneDNN. The start is a new
process that loads the file, reads a JPEG photo of 500 × 375 pixels and embeds it; it must not have imported PyTorch. All
seconds are CPU seconds, which are those of a clock where nothing else runs; the seconds of the clock are printed for the
start as well.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from provenance import processor
from step import unfold

from pairlens.core.freed_memory import keep_freed_memory
from pairlens.export.onnx_model import export_onnx
from pairlens.export.parity import ComparedPhotos
from pairlens.model.embedder import Embedder
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.packed_convolution import pack_convolutions
from pairlens.model.passes import photos_of_a_pass

RESULTS = Path(__file__).parent / "results" / "export.json"
BATCHES = (1, 16)
# What is promised for a batch of 16, and for the start.
LEAST_RATIO, MOST_SECONDS = 1.3, 2.0
FIRST_VECTOR = """
import sys, time
from pairlens.model.onnx_embedder import OnnxEmbedder
model = OnnxEmbedder.load(sys.argv[1])
loaded = time.process_time()
model.embed(sys.argv[2])
assert "torch" not in sys.modules
# CPU seconds since the process began, the start of Python included.
print(loaded, time.process_time())
"""


@dataclass(frozen=True)
class Options:
    """Options: what to measure, and how often.

    Attributes:
        backbones: of the models, with random weights.
        image_size: height and width of the photos.
        rounds: how often the two forward passes take turns.
        starts: how often a process is started.
        as_pairlens: whether both embed as a collection does.
    """

    backbones: tuple[str, ...] = ("efficientnet_lite0", "resnet50")
    image_size: int = 224
    rounds: int = 9
    starts: int = 5
    as_pairlens: bool = False


def timed(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ratios(model: Embedder, exported: OnnxEmbedder, batch: int, options: Options) -> dict[str, float]:
    """Return the median seconds of both forward passes, and the median ratio of the rounds with its extremes."""
    size = exported.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    step = photos_of_a_pass(size, size) if options.as_pairlens else batch

    def eager() -> None:
        with torch.inference_mode():
            for part in photos.split(step):
                model(part)

    def onnx() -> None:
        for start in range(0, batch, step):
            exported.embed_pixels(pixels[start : start + step])

    eager()
    onnx()
    pairs = [(timed(eager), timed(onnx)) for _ in range(options.rounds)]
    shares = [a / b for a, b in pairs]
    return {
        "torch_ms": 1000 * statistics.median(a for a, _ in pairs),
        "onnx_ms": 1000 * statistics.median(b for _, b in pairs),
        "ratio": statistics.median(shares),
        "least": min(shares),
        "greatest": max(shares),
    }


def start_seconds(file: Path, starts: int) -> dict[str, float]:
    """Return the median seconds until the model is loaded, until its first vector, and by the clock."""
    photo = file.with_name("photo.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)).save(photo)
    command = [sys.executable, "-c", FIRST_VECTOR, str(file), str(photo)]
    measured = []
    for _ in range(starts):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        measured.append((*map(float, done.stdout.split()), time.perf_counter() - start))
    loaded, vector, process = (statistics.median(column) for column in zip(*measured, strict=True))
    return {"loaded_s": loaded, "first_vector_s": vector, "clock_s": process}


def measure(backbone: str, options: Options, folder: Path) -> dict[str, object]:
    """Export a model, and return its figures."""
    o = options
    model = Embedder(backbone=backbone, dim=512, weights="none", image_size=o.image_size).eval()
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    file = folder / f"{backbone}.onnx"
    noise = np.random.default_rng(1).integers(0, 256, (4, o.image_size, o.image_size, 3), dtype=np.uint8)
    parity = export_onnx(model, file, ComparedPhotos(noise))
    exported = OnnxEmbedder.load(file, threads=1)
    if o.as_pairlens:
        pack_convolutions(model)
    else:
        unfold(model)
    batches = {batch: ratios(model, exported, batch, o) for batch in BATCHES}
    return {"least_cosine": parity.least_cosine, "batches": batches, "start": start_seconds(file, o.starts)}


def main(options: Options) -> None:
    """Measure, print and store."""
    torch.set_num_threads(1)
    if options.as_pairlens:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        models = {backbone: measure(backbone, options, Path(folder)) for backbone in options.backbones}
    for backbone, row in models.items():
        for batch, figures in row["batches"].items():
            verdict = (
                ""
                if batch == 1 or options.as_pairlens
                else f"  (bar {LEAST_RATIO}: {'ok' if figures['ratio'] >= LEAST_RATIO else 'MISSED'})"
            )
            print(
                f"{backbone}, batch {batch}: torch {figures['torch_ms']:.0f} ms, onnx {figures['onnx_ms']:.0f} ms, ratio "
                f"{figures['ratio']:.2f} [{figures['least']:.2f}, {figures['greatest']:.2f}]{verdict}"
            )
        start = row["start"]
        verdict = "ok" if start["first_vector_s"] <= MOST_SECONDS else "MISSED"
        print(
            f"{backbone}, start: loaded {start['loaded_s']:.2f} s, first vector {start['first_vector_s']:.2f} s; by the "
            f"clock {start['clock_s']:.2f} s  (bar {MOST_SECONDS:g}: {verdict})"
        )
    record = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": f"{processor()}, one thread",
        "torch": version("torch"),
        "onnxruntime": version("onnxruntime"),
        "image_size": options.image_size,
        "rounds": options.rounds,
        "models": models,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    # The first record is the whole file but for the second.
    kept = (
        {**stored, "as_pairlens": record}
        if options.as_pairlens
        else {"as_pairlens": stored.get("as_pairlens"), **record}
    )
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, config=(tyro.conf.OmitArgPrefixes,)))
