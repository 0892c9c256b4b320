"""Mixed load on a server for minutes: searches, additions and removals; then it is killed, and nothing may be lost.

    python tools/serving_load.py                        # 5 minutes
    python tools/serving_load.py --minutes 30
    python tools/serving_load.py --minutes 30 --write    # keep the figures in benches/results/serving.json

Sixteen clients search with photos, vectors of ids and filters, add photos, find them at once, relabel and remove them. It
fails (exit status 1) if an answer is an error, if a photo that was added is not found, if memory or descriptors grow (the
last third of the time against the second), or if anything that was acknowledged is missing after `kill -9` under load.
"""

import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from pairlens.collection.collection import Collection  # noqa: E402
from support.served_collection import make_collection, picture  # noqa: E402 (tests/ is on the path only now)
from support.server_process import ServerProcess, server_process  # noqa: E402
from support.serving_results import write_figures  # noqa: E402


@dataclass(frozen=True)
class Options:
    """How long, and how many."""

    minutes: float = 5.0
    clients: int = 16
    photos: int = 500
    write: bool = False


@dataclass(eq=False)
class Log:
    """What the clients have seen."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    milliseconds: list[float] = field(default_factory=list)


class LoadClient:
    """Does what people do, one thing after the other."""

    def __init__(self, server: ServerProcess, number: int, log: Log, stop: threading.Event) -> None:
        self.http = httpx.Client(base_url=server.address, timeout=600)
        self.random = random.Random(number)
        self.number = number
        self.log = log
        self.stop = stop
        self.own: list[int] = []
        self.made = 0

    def run(self) -> None:
        """Go on until it is stopped, or the server is killed."""
        try:
            while not self.stop.is_set():
                start = time.perf_counter()
                verb = self.random.choices(("photo", "id", "page", "add", "remove"), (4, 4, 2, 2, 2))[0]
                getattr(self, verb)()
                with self.log.lock:
                    self.log.counts[verb] += 1
                    self.log.milliseconds.append(1000 * (time.perf_counter() - start))
        except httpx.TransportError as error:
            if not self.stop.is_set():
                self.log.errors.append(repr(error))
        finally:
            self.http.close()

    def answer(self, response: httpx.Response, *usual: int) -> httpx.Response:
        """Return an answer; one that is an error is noted."""
        if response.status_code not in (200, 201, *usual):
            self.log.errors.append(f"{response.request.method} {response.request.url.path}: {response.text[:200]}")
        return response

    def photo(self) -> None:
        """Search with a photo."""
        self.answer(self.http.post("/api/search", files={"photo": picture(self.random.randrange(1 << 30))}))

    def id(self) -> None:
        """Search with an id and a filter."""
        body = {"id": self.random.randrange(1, 100), "k": 20, "where": {"label": ["red", "blue"]}}
        self.answer(self.http.post("/api/search", json=body))

    def page(self) -> None:
        """Look at the page and a thumbnail."""
        self.answer(self.http.get("/"))
        self.answer(self.http.get(f"/api/photos/{self.random.randrange(1, 100)}/thumbnail"))

    def add(self) -> None:
        """Add a photo, and find it at once."""
        self.made += 1
        contents = picture((self.number + 1) * 10_000_000 + self.made)
        done = self.answer(self.http.post("/api/photos", files={"photo": contents}, data={"label": "new"})).json()
        with self.log.lock:
            self.log.held.update(done["ids"])
        self.own += done["ids"]
        found = self.answer(self.http.post("/api/search", files={"photo": contents}, data={"k": "3"})).json()
        if not set(done["ids"]) & {match["id"] for match in found["matches"]} and not self.stop.is_set():
            self.log.errors.append(f"{done['ids']} was added and is not found")

    def remove(self) -> None:
        """Relabel a photo of its own, and remove it."""
        if not self.own:
            return
        id = self.own.pop(0)
        self.answer(self.http.patch(f"/api/photos/{id}", json={"label": "old"}))
        with self.log.lock:
            # Until the answer is there, either is right.
            self.log.held.discard(id)
            self.log.unsure.add(id)
        self.answer(self.http.delete(f"/api/photos/{id}"))
        with self.log.lock:
            self.log.unsure.discard(id)


def gauges(server: ServerProcess) -> tuple[float, float]:
    """Return the megabytes and the descriptors of the server."""
    lines = httpx.get(f"{server.address}/metrics", timeout=600).text.splitlines()
    values = {
        line.split("{")[0]: float(line.split()[-1])
        for line in lines
        if not line.startswith("#") and "_bucket" not in line
    }
    return values["pairlens_resident_memory_bytes"] / 1e6, values["pairlens_open_descriptors"]


def main(options: Options) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "shop"
        make_collection(folder, options.photos).close()
        log, stop = Log(), threading.Event()
        with server_process(folder) as server:
            clients = [LoadClient(server, number, log, stop) for number in range(options.clients)]
            threads = [threading.Thread(target=client.run) for client in clients]
            for thread in threads:
                thread.start()
            samples = []
            end = time.monotonic() + 60 * options.minutes
            while time.monotonic() < end and not log.errors:
                time.sleep(2)
                samples.append(gauges(server))
            stop.set()
            # In the middle of what they do.
            server.process.kill()
            for thread in threads:
                thread.join()
        with Collection.open(folder) as shop:
            there = set(shop.store.ids().tolist())
            faults = shop.check()
    lost = log.held - there
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    memory = [statistics.median(one for one, _ in part) for part in (middle, last)]
    descriptors = [statistics.median(one for _, one in part) for part in (middle, last)]
    times = sorted(log.milliseconds)
    figures = {
        "minutes": options.minutes, "clients": options.clients, "requests": sum(log.counts.values()),
        "done": dict(log.counts), "errors": log.errors[:5], "acknowledged": len(log.held), "lost": sorted(lost),
        "faults": [fault.what for fault in faults], "memory_mb": memory, "descriptors": descriptors,
        "median_ms": round(times[len(times) // 2], 1), "p99_ms": round(times[int(0.99 * len(times))], 1),
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.write:
        write_figures("mixed_load", figures)
    if log.errors or lost or faults or memory[1] > 1.1 * memory[0] or descriptors[1] > descriptors[0] + 5:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
