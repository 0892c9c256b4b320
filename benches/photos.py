"""From photos to batches: how fast are preparing, loading and starting, and does loading overlap with computing?

    python benches/photos.py                    # all parts: about 10 minutes on 2 cores
    python benches/photos.py --parts loading    # one part again, into the same file

- loading: a batch from the prepared file (decode at 252 px, crop 224, flip, uint8, collate), compared with the pipeline of
  the original project (PIL open -> Resize(252, 252) -> RandomCrop(224) -> flip -> ToTensor -> Normalize -> stack).
- preparing: the complete `prepare`, compared with that pipeline.
- starting: the time from the request for an epoch to its first batch, and its memory, with 1,000 and with a million photos.
- hiding: steps of `fit` on batches that 2 workers load, compared with steps on a batch that is already in memory.

Loading and preparing are measured as CPU time of all threads per photo, with one thread for torch. Pairlens and the peer are
measured alternately; the figures are medians of the repeats, and a ratio is the median of the ratios of all repeats. Needs
the photos of birds in ../shared/data. Writes
benches/results/photos.json.
"""

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import tyro
from PIL import Image
from provenance import processor
from torchvision import transforms

from pairlens.core.images import encode
from pairlens.data.annotations import Photo
from pairlens.data.augmentation import AugmentName
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.loader import TestBatches, TrainingBatches
from pairlens.data.prepare import Preparation, prepare
from pairlens.data.sampler import ClassBatches
from pairlens.losses import Circle
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Step, fit
from pairlens.training.learner import Learner, Objective

RESULTS = Path(__file__).parent / "results" / "photos.json"
Part = Literal["loading", "preparing", "starting", "hiding"]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = ("loading", "preparing", "starting", "hiding")
    birds: Path = Path("../shared/data/cub200_2010_ten.tar")
    repeats: int = 9
    rows: tuple[int, ...] = (1_000, 1_000_000)
    """Photos of the catalogs for `starting`."""
    backbone: str = "resnet50"
    """Model of `hiding`."""
    turns: int = 5
    steps: int = 3
    batch_size: int = 32


def historical(files: list[Path], size: int, side: int) -> torch.Tensor:
    """The input pipeline of the project that Pairlens starts from, with its collation."""
    steps = transforms.Compose(
        [
            transforms.Resize((side, side)),
            transforms.RandomCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    photos = []
    for file in files:
        with Image.open(file) as image:
            photos.append(steps(image.convert("RGB")))
    return torch.stack(photos)


def cpu_ms(work: Callable[[], Iterable | Catalog]) -> float:
    """Return CPU milliseconds per photo; `work` returns batches, or a sequence with one entry per photo."""
    start = time.process_time()
    done = work()
    photos = len(done) if isinstance(done, Catalog | torch.Tensor) else sum(len(batch.labels) for batch in done)
    return (time.process_time() - start) * 1e3 / photos


def compare(ours: Callable, peer: Callable, repeats: int) -> dict[str, float]:
    cpu_ms(ours), cpu_ms(peer)
    turns = [(cpu_ms(ours), cpu_ms(peer)) for _ in range(repeats)]
    return {
        "ours_ms": round(statistics.median(a for a, _ in turns), 3),
        "peer_ms": round(statistics.median(b for _, b in turns), 3),
        "ratio": round(statistics.median(b / a for a, b in turns), 2),
        "lowest_ratio": round(min(b / a for a, b in turns), 2),
    }


def prepared(folder: Path, raw: Path, size: int) -> Catalog:
    """Prepare the photos of birds from the start."""
    options = Preparation("folder", folder, source=raw, name=f"birds{size}", size=size, force=True)
    return prepare(options, show=lambda _: None)


CASES: tuple[tuple[int, int, AugmentName], ...] = (
    (224, 252, "standard"),
    (224, 252, "random_resized_crop"),
    (128, 144, "standard"),
    (64, 72, "standard"),
)


def measure_loading(options: Options, folder: Path, raw: Path) -> dict:
    """Measure batches of 42 from all 294 photos of birds, with one thread, for each size and augmentation."""
    files = sorted(raw.rglob("*.jpg"))
    found = {}
    for size, side, augment in CASES:
        catalog = prepared(folder, raw, side)
        training = TrainingBatches(catalog, ClassBatches(catalog.labels, 42, 7, seed=0), size, augment, workers=0)
        peer = partial(historical, files, size, side)
        found[f"train {size} {augment}"] = compare(partial(training.epoch, 1), peer, options.repeats)
        if augment == "standard":
            tests = TestBatches(catalog, size, 42, workers=0)
            found[f"test {size}"] = compare(tests.__iter__, partial(historical, files, size, size), options.repeats)
    return found


def measure_preparing(options: Options, folder: Path, raw: Path) -> dict:
    files = sorted(raw.rglob("*.jpg"))
    return {
        f"prepare {side}": compare(
            partial(prepared, folder, raw, side), partial(historical, files, size, side), options.repeats
        )
        for size, side in ((224, 252), (64, 72))
    }


def memory_mb() -> float:
    """Return the anonymous memory of this process and its children, that is, without mapped files."""
    family = {str(os.getpid()), *children(os.getpid())}
    lines = [line for pid in family for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def children(pid: int) -> list[str]:
    return [
        c
        for task in Path(f"/proc/{pid}/task").iterdir()
        for c in (task / "children").read_text(encoding="utf-8").split()
    ]


def start_once(file: str) -> None:
    """Print the seconds to the first batch of two epochs and their memory; to be run in a process of its own."""
    catalog = Catalog.open(file)
    batches = TrainingBatches(catalog, ClassBatches(catalog.labels, 32, 4, seed=0), 8, workers=2)
    # Done once per run, in time that grows with the number of photos: the photos are ordered by class.
    next(batches.sampler.iter_epoch(0))
    before, seconds = memory_mb(), []
    for number in (1, 2):
        start = time.perf_counter()
        epoch = batches.epoch(number)
        next(epoch)
        seconds.append(time.perf_counter() - start)
        taken = memory_mb() - before
        epoch.close()
    print(
        json.dumps({"first_ms": seconds[0] * 1e3, "second_ms": seconds[1] * 1e3, "taken_mb": taken, "open_mb": before})
    )


def measure_starting(options: Options, folder: Path) -> dict:
    jpeg = encode(Image.new("RGB", (9, 9), "grey"), 9)
    found = {}
    for rows in options.rows:
        photos = ((Photo(f"{i // 10}/{i}.jpg", str(i // 10), "train"), jpeg) for i in range(rows))
        file = write_catalog(folder / f"rows{rows}" / "uncropped.arrow", "rows", photos, 9).file
        command = [sys.executable, __file__, "start-once", str(file)]
        measured = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5)]
        found[f"{rows:,} photos"] = {key: round(statistics.median(m[key] for m in measured), 1) for key in measured[0]}
        file.unlink()
    return found


@dataclass(frozen=True)
class InMemory:
    """Training photos that repeat one batch."""

    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0):
        """Yield it."""
        return iter([self.batch] * (self.steps - start))


@dataclass(frozen=True)
class FirstSteps:
    """Training photos of which every epoch has only the first steps."""

    photos: TrainingBatches
    steps: int

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0):
        """Yield these batches, then stop the threads."""
        epoch = self.photos.epoch(number, start)
        yield from (next(epoch) for _ in range(self.steps - start))
        epoch.close()


def make_learner(options: Options, classes: int) -> Learner:
    model = Embedder(backbone=options.backbone, descriptors="SG", dim=512, classes=classes, weights="none")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    return Learner(model, Criterion(Circle()), optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))


def seconds_a_step(learner: Learner, photos) -> float:
    """Return the median step of the next epoch without its first step, which waits for threads to start."""
    times = []
    start = time.perf_counter()
    for record in fit(learner, photos, Objective(), learner.epoch + 1):
        if isinstance(record, Step):
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
    return statistics.median(times[1:])


def measure_hiding(options: Options, folder: Path, raw: Path) -> dict:
    catalog = prepared(folder, raw, 252)
    sampler = ClassBatches(catalog.labels, options.batch_size, 4, seed=0)
    loaded = FirstSteps(TrainingBatches(catalog, sampler, 224, workers=2), options.steps + 1)
    memory = InMemory(next(replace(loaded.photos, workers=0).epoch(1)), options.steps + 1)
    learner = make_learner(options, catalog.classes)
    seconds_a_step(learner, memory)
    # The order of the two alternates.
    turns = []
    for turn in range(options.turns):
        pair = (loaded, memory) if turn % 2 else (memory, loaded)
        taken = {id(photos): seconds_a_step(learner, photos) for photos in pair}
        turns.append((taken[id(loaded)], taken[id(memory)]))
    return {
        f"{options.backbone}, batch {options.batch_size}": {
            "loaded_s": round(statistics.median(a for a, _ in turns), 3),
            "memory_s": round(statistics.median(b for _, b in turns), 3),
            "ratio": round(statistics.median(a / b for a, b in turns), 4),
            "ratios": [round(a / b, 4) for a, b in turns],
        }
    }


def environment() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
    ).stdout.strip()
    names = ("torch", "torchvision", "pillow", "simplejpeg", "numpy", "pyarrow")
    return {
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": processor(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def save(part: str, found: dict) -> None:
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    kept = stored.get(part, {}).get("results", {}) if part == "hiding" else {}
    stored[part] = environment() | {"results": kept | found}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def show(part: str, found: dict) -> None:
    print(f"\n{part}")
    for name, row in found.items():
        print(f"  {name:32}", "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def main(options: Options) -> None:
    """Measure each part and store it immediately."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(options.birds) as archive:
            archive.extractall(folder / "raw", filter="data")
        raw = next((folder / "raw").iterdir())
        threads = torch.get_num_threads()
        measures: dict[Part, Callable[[], dict]] = {
            "loading": lambda: measure_loading(options, folder, raw),
            "preparing": lambda: measure_preparing(options, folder, raw),
            "starting": lambda: measure_starting(options, folder),
            "hiding": lambda: measure_hiding(options, folder, raw),
        }
        for part in options.parts:
            torch.set_num_threads(threads if part == "hiding" else 1)
            found = measures[part]()
            show(part, found)
            save(part, found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["start-once"]:
        start_once(sys.argv[2])
    else:
        main(tyro.cli(Options))
