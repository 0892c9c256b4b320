"""Does the SQLite store of a collection reach its bars, beside bare FAISS and a bare file in the same process?

    python benches/collection_store.py

Rounds of the store and of its peer are interleaved, and a ratio is the median of the ratios of the rounds. The vectors have
18 effective directions, clusters and noise, as those of trained models do.
"""

import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import tyro
from provenance import RESULTS, about, write_result

from pairlens.collection.filters import as_conditions, between, under
from pairlens.collection.item import NewItem
from pairlens.collection.sqlite_store import SqliteStore

DIM, DIRECTIONS, CLUSTERS = 512, 18, 2000
MODEL = "bench"
BATCH = 5000


@dataclass(frozen=True)
class Options:
    """Options: sizes and lengths, which the bars assume as they are; and the parts, whose rows replace earlier ones."""

    items: int = 60_502
    ivf_items: int = 300_000
    memory_items: int = 1_000_000
    rounds: int = 15
    kills: int = 50
    seconds: float = 60.0
    parts: tuple[Literal["store", "kills", "approximate", "memory"], ...] = ("store", "kills", "approximate", "memory")
    result: Path = RESULTS / "collection_store.json"


@dataclass
class Table:
    """The measured values beside their bars."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, what: str, value: float, bar: float, at_least: bool = False, **more: Any) -> None:
        """Keep and print a value with its bar."""
        reached = value >= bar if at_least else value <= bar
        self.rows[what] = {"value": round(value, 4), "bar": bar, "reached": bool(reached), **more}
        words = f"{'>=' if at_least else '<='} {bar:g}"
        more = {name: round(number, 4) if isinstance(number, float) else number for name, number in more.items()}
        print(f"{what:62} {value:10.4g}  {words:8} {'ok' if reached else 'MISSED'}  {more or ''}", flush=True)


def vectors_like_a_model(count: int, dim: int, seed: int = 0) -> np.ndarray:
    # Every seed draws from the same clusters.
    shape = np.random.default_rng(0)
    basis = shape.normal(size=(DIRECTIONS, dim)).astype(np.float32)
    centres = shape.normal(size=(CLUSTERS, DIRECTIONS)).astype(np.float32)
    draw = np.random.default_rng(seed + 1)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, 50_000):
        part = vectors[start : start + 50_000]
        places = centres[draw.integers(0, CLUSTERS, len(part))]
        part[:] = (places + 0.5 * draw.standard_normal((len(part), DIRECTIONS), np.float32)) @ basis
        part += draw.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def item(n: int) -> NewItem:
    """An item as a collection of photos has it; a hundredth of them has each label."""
    digest = f"{n * 0x9E3779B97F4A7C15 % (1 << 64):016x}" * 4
    metadata = {"price": n % 1000, "sold": n % 2 == 0}
    path = f"class_{n % 100:03}/photo_{n:07}.jpg"
    return NewItem("/home/somebody/photos", path, digest, None, f"class {n % 100:03}", metadata, 640, 480, n)


def items_from(first: int, count: int) -> list[NewItem]:
    return [item(n) for n in range(first, first + count)]


def build(file: Path, vectors: np.ndarray, ivf_above: int = 200_000) -> SqliteStore:
    store = SqliteStore.create(file, ivf_above=ivf_above)
    store.start_model(MODEL, vectors.shape[1])
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        store.add(items_from(start, len(part)), part, MODEL)
    return store


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(rounds: int, ours: Callable[[int], Any], peer: Callable[[int], Any]) -> tuple[float, dict[str, float]]:
    """Return the median of the ratios of the rounds; and both medians in ms, and the same ratio of processor times.

    The latter tells what a busy machine has done to the former: both sides compute in the calling thread.
    """
    wall, processor = [], []
    for n in range(rounds):
        times = []
        for work in (ours, peer):
            before = time.perf_counter(), time.thread_time()
            work(n)
            times.append((time.perf_counter() - before[0], time.thread_time() - before[1]))
        wall.append((times[0][0], times[1][0]))
        processor.append(times[0][1] / times[1][1])
    a, b = zip(*wall, strict=True)
    more = {"ms": 1000 * statistics.median(a), "peer_ms": 1000 * statistics.median(b)}
    return statistics.median(x / y for x, y in wall), {**more, "processor_ratio": statistics.median(processor)}


def search_loop(file: Path, pipe: Connection, read_only: bool) -> None:
    """Answer each received query with the time of a search and what it has found."""
    store = SqliteStore.open(file, read_only=read_only)
    while (query := pipe.recv()) is not None:
        start = time.perf_counter()
        found = store.search(query, 10)
        pipe.send((time.perf_counter() - start, found.ids))
    store.close()


def exact_search(table: Table, options: Options, store: SqliteStore, vectors: np.ndarray) -> None:
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    queries = vectors_like_a_model(options.rounds, DIM, seed=7)
    same = all(
        np.array_equal(store.search(query[None], 10).ids - 1, flat.search(query[None], 10)[1]) for query in queries
    )
    ratio, more = interleaved(
        options.rounds, lambda n: store.search(queries[[n]], 10), lambda n: flat.search(queries[[n]], 10)
    )
    table.add("exact search / bare FAISS flat, one thread", ratio, 1.3, **more)
    knn, knn_more = interleaved(
        options.rounds,
        lambda n: store.search(queries[[n]], 10),
        lambda n: faiss.knn(queries[[n]], vectors, 10, metric=faiss.METRIC_INNER_PRODUCT),
    )
    table.add("exact search / faiss.knn on an array of NumPy, one thread", knn, 1.3, **knn_more)
    table.add("share of queries with identical ids", float(same), 1.0, at_least=True)
    for name, where in (
        ("label", {"label": "class 007"}),
        ("path", {"path": under("class_007/")}),
        ("metadata, remembered", {"price": between(0, 9)}),
    ):
        conditions = as_conditions(where)
        kept = store.ids(conditions)
        truth = np.argsort(-(vectors[kept - 1] @ queries[0]))[:10]
        recall = len(set(store.search(queries[:1], 10, conditions).ids[0]) & set(kept[truth])) / 10
        ratio, more = interleaved(
            options.rounds,
            lambda n, c=conditions: store.search(queries[[n]], 10, c),
            lambda n: store.search(queries[[n]], 10),
        )
        table.add(f"filter of 1 % by {name} / unfiltered", ratio, 0.3, recall=recall, **more)
    # Every filter is new, so nothing is remembered of it.
    recalls = []
    for n in range(9):
        conditions = as_conditions({"price": between(100 + n, 109 + n)})
        kept = store.ids(conditions)
        truth = np.argsort(-(vectors[kept - 1] @ queries[0]))[:10]
        recalls.append(len(set(store.search(queries[:1], 10, conditions).ids[0]) & set(kept[truth])) / 10)
    ratio, more = interleaved(
        9,
        lambda n: store.search(queries[:1], 10, as_conditions({"price": between(500 + n, 509 + n)})),
        lambda _: store.search(queries[[0]], 10),
    )
    name = "filter of 1 % by metadata, new each time / unfiltered"
    table.add(name, ratio, 0.3, recall=statistics.mean(recalls), **more)


def changes(table: Table, options: Options, file: Path, store: SqliteStore, from_scratch: float, context: Any) -> None:
    """Add and remove a thousand, seen by a second process."""
    pipe, theirs = context.Pipe()
    other = context.Process(target=search_loop, args=(file, theirs, True), daemon=True)
    other.start()
    new = vectors_like_a_model(1000, DIM, seed=3)
    pipe.send(new[:1])
    pipe.recv()
    added_in, seen_in = [], []
    for turn in range(5):
        items = items_from(10**6 * (turn + 1), 1000)
        start = time.perf_counter()
        ids = store.add(items, new, MODEL)
        added_in.append(time.perf_counter() - start)
        pipe.send(new[-1:])
        spent, found = pipe.recv()
        seen_in.append(spent if found[0, 0] == ids[-1] else float("inf"))
        start = time.perf_counter()
        store.remove(ids)
        removed_in = time.perf_counter() - start
        pipe.send(new)
        _, theirs_found = pipe.recv()
        ours_found = store.search(new, 10).ids
        stale = sum(int(np.isin(found, ids).sum() + (found < 0).sum()) for found in (theirs_found, ours_found))
    median = statistics.median(added_in)
    table.add(
        "add 1,000, durable / building from scratch",
        median / from_scratch,
        0.05,
        seconds=median,
        from_scratch=from_scratch,
    )
    table.add("next search of another process, seconds", statistics.median(seen_in), 0.2, worst=max(seen_in))
    table.add("removed or missing among 2 x 10,000 results", stale, 0, seconds_to_remove=removed_in)
    pipe.send(None)
    other.join()
    piece = new[500, 100:116].tobytes()
    before = piece in file.read_bytes()
    store.compact()
    table.add("removed bytes in the file after compacting", float(piece in file.read_bytes()), 0, before=before)


def opening(table: Table, options: Options, file: Path, vectors: np.ndarray) -> None:
    raw = file.with_name("raw.f32")
    vectors.tofile(raw)
    query = vectors[:1]

    rounds = []
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        store = SqliteStore.open(file)
        store.search(query, 1)
        first = time.perf_counter() - start
        # The first search loads the vectors; what a further one takes is no part of opening.
        ours = first - seconds(lambda: store.search(query, 1))  # noqa: B023 (called at once)
        store.close()
        rounds.append((ours, seconds(lambda: np.fromfile(raw, np.float32))))
    # The first round warms the caches of the disk.
    ratio = statistics.median(ours / peer for ours, peer in rounds[1:])
    medians = [1000 * statistics.median(column) for column in zip(*rounds[1:], strict=True)]
    table.add("opening / reading the raw file", ratio, 3.0, ms=medians[0], peer_ms=medians[1])
    raw.unlink()


def approximate(table: Table, options: Options, folder: Path, _: Any) -> None:
    vectors = vectors_like_a_model(options.ivf_items, 128)
    store = build(folder / "ivf.sqlite", vectors)
    queries = vectors_like_a_model(200, 128, seed=11)
    store.search(queries[:1], 10, mode="exact")
    trained = seconds(lambda: store.search(queries[:1], 10))
    found, exact = store.search(queries, 10), store.search(queries, 10, mode="exact")
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.ids.tolist(), exact.ids.tolist(), strict=True)])
    stated = found.recall
    table.add(
        f"auto at {options.ivf_items:,} x 128: stated recall", stated.recall, 0.95, at_least=True,
        interval=[round(stated.low, 4), round(stated.high, 4)], of_other_queries=round(float(recall), 4),
    )  # fmt: skip
    ratio, more = interleaved(
        2 * options.rounds,
        lambda n: store.search(queries[[n]], 10, mode="exact"),
        lambda n: store.search(queries[[n]], 10),
    )
    table.add("exact / auto, times faster", ratio, 8.0, at_least=True, seconds_to_train_and_measure=trained, **more)
    store.close()
    again = SqliteStore.open(folder / "ivf.sqlite")
    print(f"  opened again with its lists in {seconds(lambda: again.search(queries[:1], 10)):.2f} s")
    again.close()


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def search_once(file: Path, pipe: Connection) -> None:
    before = peak_bytes()
    start = time.perf_counter()
    store = SqliteStore.open(file)
    found = store.search(vectors_like_a_model(1, 128, seed=5), 10)
    pipe.send((before, peak_bytes(), time.perf_counter() - start, found.recall.recall))


def memory(table: Table, options: Options, folder: Path, context: Any) -> None:
    vectors = vectors_like_a_model(options.memory_items, 128)
    build(folder / "memory.sqlite", vectors).close()
    raw = vectors.nbytes
    del vectors
    for name in ("trained from scratch", "with stored lists"):
        pipe, theirs = context.Pipe()
        process = context.Process(target=search_once, args=(folder / "memory.sqlite", theirs), daemon=True)
        process.start()
        before, peak, spent, recall = pipe.recv()
        process.join()
        more = {"seconds": round(spent, 1), "recall": recall, "peak_MiB": peak >> 20, "imports_MiB": before >> 20}
        table.add(f"memory of {options.memory_items:,} x 128, {name} / raw", (peak - before) / raw, 1.3, **more)


def read_for(file: Path, pipe: Connection, queries: np.ndarray, length: float) -> None:
    """Search for a time; report the times, and when each new item was there."""
    store = SqliteStore.open(file, read_only=True)
    store.search(queries[:1], 10)
    pipe.send("ready")
    pipe.recv()
    times, errors, end = [], 0, time.perf_counter() + length
    newest = int(store.ids().max())
    seen: dict[int, float] = {}
    while time.perf_counter() < end:
        start = time.perf_counter()
        try:
            store.search(queries[[len(times) % len(queries)]], 10)
            last = store.page(max(seen, default=newest), 1000)
        except Exception as error:
            print(error)
            errors += 1
            last = []
        times.append(time.perf_counter() - start)
        seen |= {found.id: time.time() for found in last}
    pipe.send((times, errors, seen))


def write_for(file: Path, pipe: Connection, length: float) -> None:
    store = SqliteStore.open(file)
    pipe.send("ready")
    pipe.recv()
    vectors = vectors_like_a_model(20, DIM, seed=21)
    end, turn, errors = time.perf_counter() + length, 0, 0
    acknowledged: dict[int, float] = {}
    while time.perf_counter() < end:
        try:
            ids = store.add(items_from(10**8 + 20 * turn, 20), vectors, MODEL)
            acknowledged |= dict.fromkeys(ids, time.time())
            store.remove(ids[:10])
        except Exception as error:
            print(error)
            errors += 1
        turn += 1
        time.sleep(0.1)
    pipe.send((turn, errors, acknowledged))


def together(table: Table, options: Options, file: Path, context: Any) -> None:
    queries = vectors_like_a_model(64, DIM, seed=17)
    medians = {}
    for with_writer in (False, True):
        length = options.seconds if with_writer else options.seconds / 4
        pipes, processes = [], []
        for number in range(3 if with_writer else 2):
            pipe, theirs = context.Pipe()
            work, more = (read_for, (queries, length)) if number < 2 else (write_for, (length,))
            processes.append(context.Process(target=work, args=(file, theirs, *more), daemon=True))
            processes[-1].start()
            pipes.append(pipe)
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:
            pipe.send("go")
        reports = [pipe.recv() for pipe in pipes]
        for process in processes:
            process.join()
        medians[with_writer] = statistics.median(spent for report in reports[:2] for spent in report[0])
    known = reports[2][2]
    # Negative where a reader has an item before the writer has returned.
    ages = [seen - known[id] for report in reports[:2] for id, seen in report[2].items() if id in known]
    errors = sum(report[1] for report in reports)
    table.add("errors of 2 readers and 1 writer", errors, 0, batches=reports[2][0], searches=len(reports[0][0]))
    table.add("from acknowledged to found by a reader, p99, seconds", float(np.quantile(ages, 0.99)), 1.0)
    table.add("median of the readers with / without the writer", medians[True] / medians[False], 1.5)


def write_until_killed(file: Path, first: int, pipe: Connection) -> None:
    store = SqliteStore.open(file)
    for number in range(first, first + 10**6, 50):
        vectors = vectors_like_a_model(50, 32, seed=number)
        ids = store.add(items_from(number, 50), vectors, MODEL)
        pipe.send(("added", ids))
        store.remove(ids[:10])
        pipe.send(("removed", ids[:10]))
        if number % 500 == 0:
            store.compact()


def kills(table: Table, options: Options, folder: Path, context: Any) -> None:
    file = folder / "killed.sqlite"
    build(file, vectors_like_a_model(1000, 32)).close()
    draw = random.Random(0)
    added: set[int] = set()
    removed: set[int] = set()
    faults = 0
    for turn in range(options.kills):
        pipe, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=write_until_killed, args=(file, 10**9 + turn * 10**6, theirs), daemon=True)
        worker.start()
        theirs.close()
        reports = [pipe.recv()]
        time.sleep(draw.uniform(0, 0.3))
        worker.kill()
        try:
            while True:
                reports.append(pipe.recv())
        except (EOFError, OSError):
            worker.join()
        for word, ids in reports:
            added |= set(ids) if word == "added" else set()
            removed |= set(ids) if word == "removed" else set()
        if reports[-1][0] == "added":
            # The removal that follows may have happened.
            added -= set(reports[-1][1][:10])
        store = SqliteStore.open(file)
        faults += len(store.check())
        store.close()
    there = set(SqliteStore.open(file).ids().tolist())
    lost = len(added - removed - there) + len(removed & there)
    table.add(f"acknowledged and lost in {options.kills} kills", lost, 0, acknowledged=len(added))
    table.add("faults that the check finds after them", faults, 0)


def whole_store(table: Table, options: Options, folder: Path, context: Any) -> None:
    vectors = vectors_like_a_model(options.items, DIM)
    file = folder / "collection.sqlite"
    start = time.perf_counter()
    store = build(file, vectors)
    from_scratch = time.perf_counter() - start
    table.add("disk, open / raw vectors", store.size() / vectors.nbytes, 1.2)
    store.close()
    table.add("disk, closed / raw vectors", file.stat().st_size / vectors.nbytes, 1.2)
    opening(table, options, file, vectors)
    store = SqliteStore.open(file)
    exact_search(table, options, store, vectors)
    changes(table, options, file, store, from_scratch, context)
    store.close()
    together(table, options, file, context)


def main(options: Options) -> None:
    """Measure, print and store everything."""
    context = multiprocessing.get_context("forkserver")
    # Processes that are killed by the dozen need not import everything each.
    context.set_forkserver_preload(["faiss", "tyro", "pairlens.collection.sqlite_store"])
    table = Table()
    with tempfile.TemporaryDirectory() as name:
        for part in options.parts:
            {"store": whole_store, "kills": kills, "approximate": approximate, "memory": memory}[part](
                table, options, Path(name), context
            )
    earlier = json.loads(options.result.read_text(encoding="utf-8"))["bars"] if options.result.exists() else {}
    load = os.getloadavg()[0]
    rows = {**earlier, **{what: {**row, "load": round(load, 1)} for what, row in table.rows.items()}}
    write_result(options.result, {**about("faiss-cpu", "numpy"), "bars": rows})
    print(json.dumps({"missed": [what for what, row in table.rows.items() if not row["reached"]]}))


if __name__ == "__main__":
    main(tyro.cli(Options))
