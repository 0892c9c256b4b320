"""Which backbone retrieves best without a network: `pairlens prepare --data_name cub`, then `benches/offline_backbones.py`.

EfficientNet-Lite0, 1 and 2 with their ImageNet weights, as they come, on the test classes of CUB-200-2011 at several sizes.
The rate is photos per second of CPU time of one thread, pixels to vector, in the fastest of several rounds in which models
take turns, because other work on the machine slows down the others. Writes benches/results/offline_backbones.json.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from provenance import RESULTS, about, write_result

from pairlens.data.catalog import Catalog
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.model.backbone import Backbone
from pairlens.model.plain_backbone import PlainBackbone

FILE = RESULTS / "offline_backbones.json"
NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
BATCH = 32
ROUNDS = 8


@dataclass(frozen=True)
class Options:
    """Options: the folder of the prepared data, the image sizes, and every how many-th photo is taken."""

    data_path: Path = Path("data")
    sizes: tuple[int, ...] = (128, 160, 224)
    every: int = 4


def make(name: str, size: int) -> PlainBackbone:
    """Return one backbone as it comes."""
    backbone = Backbone(name, "imagenet", "none", size)
    return PlainBackbone(backbone, name, size).to(memory_format=torch.channels_last)


def rates(sizes: tuple[int, ...]) -> dict[str, float]:
    """Return photos per second of each model, measured in turns."""
    models = {(name, size): make(name, size) for name in NAMES for size in sizes}
    fastest = dict.fromkeys(models, float("inf"))
    for _ in range(ROUNDS):
        for key, model in models.items():
            photos = torch.randint(0, 256, (BATCH, 3, key[1], key[1]), dtype=torch.uint8)
            started = time.process_time()
            model.embed_batch(photos)
            fastest[key] = min(fastest[key], time.process_time() - started)
    return {f"{name} at {size} px": BATCH / seconds for (name, size), seconds in fastest.items()}


def main(options: Options) -> None:
    """Measure, print and store."""
    torch.set_num_threads(1)
    speed = rates(options.sizes)
    test = Catalog.open(options.data_path / "cub" / "uncropped.arrow").select("test")
    photos = test.at(torch.arange(0, len(test), options.every))
    results = {}
    for name in NAMES:
        for size in options.sizes:
            report = RetrievalSet.embed(make(name, size), photos, batch_size=BATCH).evaluate(recalls=(1,))
            key = f"{name} at {size} px"
            results[key] = {"R@1": report["R@1"], "MAP@R": report["MAP@R"], "photos_per_second": speed[key]}
            print(key, results[key], flush=True)
    write_result(FILE, {"about": about("timm"), "photos": len(photos), "results": results})


if __name__ == "__main__":
    main(tyro.cli(Options))
