"""How close does the speed of embedding a data set come to that of the bare forward pass?

    python benches/embedding.py --data_path data
    python benches/embedding.py --data_path data --name cub --backbone efficientnet_lite2 --most 640

The bare forward pass is the same model in evaluation mode on the same uint8 batches, which are already decoded and in
memory, under inference_mode, each batch at once. Both are measured alternately. The share is the seconds of the bare pass
divided by the seconds of `embed`, which decodes the photos, embeds them in passes and collects the embeddings in order; it
may be more than 1. Both keep freed memory, as every command of Pairlens does.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
import tyro
from provenance import processor

from pairlens.core.freed_memory import keep_freed_memory
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TestBatches
from pairlens.evaluation.embeddings import embed
from pairlens.model.embedder import Embedder

RESULTS = Path(__file__).parent / "results" / "embedding.json"
LEAST = 0.95


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, and what to embed.

    Attributes:
        data_path: folder of the prepared data sets.
        name: data set.
        backbone: of the model, with random weights.
        image_size: height and width of the photos.
        most: photos at most.
        batch_size: photos at once.
        workers: processes that decode.
        repeats: how often both are timed.
    """

    data_path: Path = Path("data")
    name: str = "birds"
    backbone: str = "resnet50"
    image_size: int = 224
    most: int = 10_000
    batch_size: int = 64
    workers: int = 2
    repeats: int = 3


def timed(work: Callable[[], object]) -> float:
    """Return the duration in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(options: Options) -> None:
    """Measure, print and store one row."""
    o = options
    keep_freed_memory()
    whole = Catalog.open(o.data_path / o.name / "uncropped.arrow")
    largest = max((whole.select(split) for split in whole.splits), key=len)
    catalog = largest.at(slice(o.most))
    model = Embedder(backbone=o.backbone, dim=512, weights="none", image_size=o.image_size).eval()
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    batches = [batch.photos for batch in TestBatches(catalog, o.image_size, o.batch_size, o.workers)]

    def bare() -> None:
        with torch.inference_mode():
            for photos in batches:
                model(photos)

    bare()
    pairs = [
        (timed(bare), timed(lambda: embed(model, catalog, batch_size=o.batch_size, workers=o.workers)))
        for _ in range(o.repeats)
    ]
    share = statistics.median(a / b for a, b in pairs)
    row = {
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
        ).stdout.strip(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": processor(),
        "torch": version("torch"),
        "photos": len(catalog),
        "batch_size": o.batch_size,
        "workers": o.workers,
        "bare_images_a_second": len(catalog) / statistics.median(a for a, _ in pairs),
        "embed_images_a_second": len(catalog) / statistics.median(b for _, b in pairs),
        "share": share,
        "shares": [a / b for a, b in pairs],
    }
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(kept | {f"{o.backbone} at {o.image_size}": row}, indent=1) + "\n", encoding="utf-8")
    print(
        f"{o.backbone} at {o.image_size} px: {100 * share:.1f} % of bare {'' if share >= LEAST else '(too little)'}",
        row,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
