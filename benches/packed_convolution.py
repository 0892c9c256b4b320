"""How much faster is a forward pass whose convolutions are packed?

    python benches/packed_convolution.py          # two minutes of two cores

The same network computes the same photos packed and as it is, in blocks that take turns; the ratio is that of the medians of
the blocks' seconds, with the lowest and the highest ratio of a block. The first pass of a packed block, which packs, is
timed on its own. One photo is what a search embeds; a pass of `model/passes.py` is what indexing, evaluation and a
frozen backbone embed. Writes benches/results/packed_convolution.json.
"""

import statistics
import time

import torch
from provenance import RESULTS, about, write_result

from pairlens.core.freed_memory import keep_freed_memory
from pairlens.model.backbone import Stride
from pairlens.model.embedder import Embedder
from pairlens.model.packed_convolution import packed_convolutions
from pairlens.model.passes import photos_of_a_pass

FILE = RESULTS / "packed_convolution.json"
# Backbone, size of a photo in pixels, and --stride.
NETWORKS: tuple[tuple[str, int, Stride], ...] = (
    ("efficientnet_lite0", 128, "port"),
    ("efficientnet_lite0", 224, "none"),
    ("efficientnet_lite2", 224, "none"),
    ("resnet50", 224, "none"),
)
THREADS = (1, 2)
BLOCKS, PASSES = 5, 4


def milliseconds(model: Embedder, photos: torch.Tensor) -> list[float]:
    """Return how long each pass of a block took."""
    found = []
    for _ in range(PASSES):
        start = time.perf_counter()
        model.embed_batch(photos)
        found.append(1e3 * (time.perf_counter() - start))
    return found


def measure(model: Embedder, count: int) -> dict[str, float]:
    """Return the medians of both, their ratio, and what packing costs."""
    size = model.architecture.image_size
    photos = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    model.embed_batch(photos)
    plain, packed, first = [], [], []
    for _ in range(BLOCKS):
        plain.append(statistics.median(milliseconds(model, photos)))
        with packed_convolutions(model):
            start = time.perf_counter()
            model.embed_batch(photos)
            first.append(1e3 * (time.perf_counter() - start))
            packed.append(statistics.median(milliseconds(model, photos)))
    ratios = [a / b for a, b in zip(plain, packed, strict=True)]
    return {
        "photos": count,
        "plain_ms": statistics.median(plain),
        "packed_ms": statistics.median(packed),
        "packing_ms": statistics.median(first) - statistics.median(packed),
        "ratio": statistics.median(plain) / statistics.median(packed),
        "least": min(ratios),
        "greatest": max(ratios),
    }


def main() -> None:
    """Measure, print and store."""
    keep_freed_memory()
    rows = {}
    for backbone, size, stride in NETWORKS:
        model = Embedder(backbone=backbone, dim=512, weights="none", stride=stride, image_size=size).eval()
        for threads in THREADS:
            torch.set_num_threads(threads)
            for count in (1, photos_of_a_pass(size, size)):
                name = f"{backbone}, {size} px, --stride {stride}; {threads} threads; photos {count}"
                rows[name] = measure(model, count)
                print(name, {key: round(value, 2) for key, value in rows[name].items()}, flush=True)
    write_result(FILE, {"about": about(), "rows": rows})


if __name__ == "__main__":
    main()
