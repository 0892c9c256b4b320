"""Which backbone retrieves best without a network: `pairlens prepare --data_name cub` and `benches/offline_backbones.py`.

EfficientNet-Lite0, 1 and 2 with their ImageNet weights, as they come, on the test classes of CUB-200-2011 at several sizes.
The rate is photos per second of CPU time of one thread, decoding included, in the fastest batch of 32, because other work on
the machine slows down the others. Writes benches/results/offline_backbones.json.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import tyro
from provenance import RESULTS, about, write_result

from pairlens.data.catalog import Catalog
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.model.backbone import Backbone
from pairlens.model.plain_backbone import PlainBackbone

FILE = RESULTS / "offline_backbones.json"
BATCH = 32


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, the image sizes, and every how many-th photo is taken."""

    data_path: Path = Path("data")
    sizes: tuple[int, ...] = (128, 160, 224)
    every: int = 1


def measure(photos: Catalog, name: str, size: int) -> dict[str, float]:
    """Return the figures of one backbone at one size."""
    model = PlainBackbone(Backbone(name, "imagenet", "none", size), name, size).to(memory_format=torch.channels_last)
    ends = [time.process_time()]
    test = RetrievalSet.embed(
        model, photos, batch_size=BATCH, workers=0, watch=lambda batches, _: noting(batches, ends)
    )
    report = test.evaluate(recalls=(1,))
    fastest = min(later - earlier for earlier, later in pairwise(ends[:-1]))
    return {"R@1": report["R@1"], "MAP@R": report["MAP@R"], "photos_per_second": BATCH / fastest}


def noting(batches: Iterable, ends: list[float]) -> Iterator:
    """Yield batches, and note the CPU time at the end of each."""
    for batch in batches:
        yield batch
        ends.append(time.process_time())


def main(options: Options) -> None:
    """Measure, print and store."""
    torch.set_num_threads(1)
    test = Catalog.open(options.data_path / "cub" / "uncropped.arrow").select("test")
    photos = test.at(torch.arange(0, len(test), options.every))
    results = {}
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        for size in options.sizes:
            results[f"{name} at {size} px"] = found = measure(photos, name, size)
            print(name, size, found, flush=True)
    write_result(FILE, {"about": about("timm"), "photos": len(photos), "results": results})


if __name__ == "__main__":
    main(tyro.cli(Options))
