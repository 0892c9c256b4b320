"""The collection beside its bare parts: indexing, one query, the engine Ray, and kills in the middle of every verb.

    python benches/collection.py index  --photos FOLDER     photos/s beside a bare loop of decoding, resizing and the model
    python benches/collection.py query  --photos FOLDER     one file to ten matches with thumbnails, beside the model alone
    python benches/collection.py ray    --photos FOLDER     Ray, also with a kill, beside threads: equal vectors
    python benches/collection.py kills  --kills 50 [--postgres]

The bars of the store alone (search, filter, adding, opening, disk, memory) are in collection_store.py and
collection_postgres.py. Each part writes its figures into benches/results/collection.json.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from collection_kills import kill_often
from provenance import RESULTS, about, write_result

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import BATCH, CollectionModel, backbone_model
from pairlens.core.images import decode_one, reduce_to_square
from pairlens.core.threads import map_in_order

FILE = RESULTS / "collection.json"
SUFFIXES = (".jpg", ".jpeg", ".png")
ROUNDS = 8


def photos_of(folder: Path, limit: int) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    # Evenly spaced, so that a part of them holds all classes.
    step = max(1, len(files) // limit) if limit else 1
    return files[::step][:limit] if limit else files


def bare_loop(model: CollectionModel, files: list[Path], workers: int) -> tuple[float, float]:
    """Seconds, and seconds of the processors, to decode, resize and embed photos; nothing else."""
    view = model.view

    def seen(file: Path) -> np.ndarray:
        return decode_one(reduce_to_square(file, view.stored_size, None, view.quality), view.image_size).copy()

    start = time.perf_counter(), time.process_time()
    batch = []
    for pixels in map_in_order(seen, files, workers, ahead=BATCH):
        batch.append(pixels)
        if len(batch) == BATCH:
            model.embed(np.stack(batch))
            batch = []
    if batch:
        model.embed(np.stack(batch))
    return time.perf_counter() - start[0], time.process_time() - start[1]


def index(options: argparse.Namespace) -> dict[str, object]:
    model = backbone_model(options.model, options.image_size)
    files = photos_of(options.photos, options.limit)
    parts = np.array_split(np.array(files, dtype=object), ROUNDS)
    ratios, processor_ratios, rates = [], [], []
    with tempfile.TemporaryDirectory() as name, Collection.create(Path(name) / "photos", model) as collection:
        bare_loop(model, list(parts[0][:64]), options.workers)
        for part in parts:
            before = time.process_time()
            mine = collection.add(list(part), labels="none", workers=options.workers).seconds
            processor = time.process_time() - before
            bare, bare_processor = bare_loop(model, list(part), options.workers)
            ratios.append(bare / mine)
            processor_ratios.append(bare_processor / processor)
            rates.append(len(part) / mine)
        count = len(collection)
    return {
        "photos": count,
        "model": model.name,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        # Of the seconds that the processors worked, which other work on the machine changes less.
        "processor_ratio": round(statistics.median(processor_ratios), 3),
        "photos_per_second": round(statistics.median(rates), 1),
        "bar": "at least 0.9 of the bare loop",
    }


def query(options: argparse.Namespace) -> dict[str, object]:
    model = backbone_model(options.model, options.image_size)
    files = photos_of(options.photos, options.limit)
    extra, processor, forward = [], [], []
    with tempfile.TemporaryDirectory() as name, indexed(options, model, Path(name) / "photos", files) as collection:
        for number, file in enumerate(files[:: max(1, len(files) // 60)]):
            clocks = [(time.perf_counter(), time.process_time())]
            result = collection.search(file, k=10)
            pictures = [match.thumbnail() for match in result]
            clocks.append((time.perf_counter(), time.process_time()))
            model.embed(np.zeros((1, options.image_size, options.image_size, 3), np.uint8))
            clocks.append((time.perf_counter(), time.process_time()))
            assert len(pictures) == 10
            # The first search fills the index.
            if number:
                search, bare = 1000 * np.diff(clocks, axis=0)  # (clock,) milliseconds each
                extra.append(search[0] - bare[0])
                processor.append(search[1] - bare[1])
                forward.append(bare[0])
    return {
        "photos": len(files),
        "milliseconds_beside_the_forward_pass": round(statistics.median(extra), 1),
        "processor_milliseconds_beside_it": round(statistics.median(processor), 1),
        "milliseconds_of_the_forward_pass": round(statistics.median(forward), 1),
        "bar": "at most 15",
    }


def indexed(options: argparse.Namespace, model: CollectionModel, folder: Path, files: list[Path]) -> Collection:
    """Return the given collection, or one in which the photos are indexed first."""
    if options.collection is not None and options.collection.exists():
        return Collection.open(options.collection)
    collection = Collection.create(options.collection or folder, model)
    collection.add(files, labels="none", workers=options.workers)
    return collection


def ray(options: argparse.Namespace) -> dict[str, object]:
    """Index by threads, by Ray, and by Ray with a process that is killed when half of the photos are done."""
    sys.path.insert(0, str(RESULTS.parent.parent / "tests"))
    from support.child_processes import descendants

    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if not killed and done >= total // 2:
            killed.append(next(pid for pid, title in descendants() if title.startswith("ray::_Embedding")))
            os.kill(killed[0], signal.SIGKILL)

    model = backbone_model(options.model, options.image_size)
    files = photos_of(options.photos, options.limit)
    seconds: dict[str, float] = {}
    found: dict[str, tuple[list[tuple[int, str, str | None]], np.ndarray]] = {}
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        for way in ("threads", "ray", "ray, killed"):
            engine, progress = ("threads" if way == "threads" else "ray"), kill_once if "killed" in way else ignore
            with Collection.create(Path(name) / way, model) as collection:
                done = collection.add(files, labels="folders", workers=2, engine=engine, progress=progress)
                seconds[way] = round(done.seconds, 1)
                ids = collection.store.ids()
                items = [(item.id, item.path, item.label) for item in collection.store.items(ids)]
                found[way] = items, collection.store.vectors(ids)
                faults += len(collection.check())
    expected, vectors = found.pop("threads")
    return {
        "photos": len(expected),
        "processes_killed": len(killed),
        "same_ids_and_labels": all(items == expected for items, _ in found.values()),
        "largest_difference": max(float(np.abs(other - vectors).max()) for _, other in found.values()),
        "faults": faults,
        "seconds": seconds,
        "bar": "the same vectors, ids and labels as one process, also after a kill",
    }


def ignore(done: int, total: int) -> None:
    """Show no progress."""


def kills(options: argparse.Namespace) -> dict[str, object]:
    return kill_often(options.kills, options.postgres)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("index", "query", "ray", "kills"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument(
        "--collection", type=Path, help="where the photos are indexed for the queries, once for all runs"
    )
    parser.add_argument("--limit", type=int, default=0, help="number of photos; 0 for all")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    figures = {"index": index, "query": query, "ray": ray, "kills": kills}[options.part](options)
    name = f"{options.part}_postgres" if options.postgres else options.part
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    print(json.dumps(figures, indent=1))
    write_result(FILE, {**stored, "about": about("faiss-cpu"), name: figures})


if __name__ == "__main__":
    main()
