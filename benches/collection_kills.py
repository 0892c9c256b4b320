"""Kills in the middle of indexing, updating, removing, reindexing and migrating: what was acknowledged must be there.

A process does one verb after another and sends a line when it has returned. The bench kills it at a random moment of the
verb whose turn it is, opens the collection and compares it with these lines.
"""

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import CollectionModel, backbone_model

BENCHES = Path(__file__).parent
SIDE, PHOTOS_AT_ONCE = 32, 24
VERBS = ("add", "update", "remove", "reindex", "migrate")


def small_model(seed: int) -> CollectionModel:
    torch.manual_seed(seed)
    return backbone_model("resnet10t", 32, "none")


def write_photo(file: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def work(location: str, folder: Path, seed: int, pipe: Connection) -> None:
    """Do verbs until somebody kills this process."""

    def say(*words: object) -> None:
        pipe.send(" ".join(map(str, words)))

    rng = random.Random(seed)
    number = seed * 1_000_000
    with Collection.open(location) as collection:
        while True:
            verb = rng.choice(("add", *VERBS))
            ids = [item.id for item in collection.photos(limit=100_000)]
            if verb == "add" or not ids:
                files = []
                for _ in range(PHOTOS_AT_ONCE):
                    number += 1
                    files.append(folder / f"{number}.png")
                    write_photo(files[-1], number)
                say("begin add")
                done = collection.add(files, labels="none", workers=0)
                say("add", *done.ids)
            elif verb == "update":
                chosen = collection.get(rng.choice(ids))
                number += 1
                write_photo(Path(chosen.file), number)
                say("begin update", chosen.id)
                collection.add(Path(chosen.file), labels="none", workers=0)
                say("update", chosen.id, collection.get(chosen.id).digest)
            elif verb == "remove":
                chosen = rng.sample(ids, min(len(ids), 5))
                say("begin remove", *chosen)
                collection.remove(chosen)
                say("remove", *chosen)
            elif verb == "reindex":
                say("begin reindex")
                collection.reindex()
                say("reindex")
            else:
                other = 2 if collection.active.fingerprint == small_model(1).fingerprint else 1
                say("begin migrate")
                collection.migrate(small_model(other), workers=0)
                say("migrate", collection.active.fingerprint)


class Ledger:
    """What the printed lines promise."""

    def __init__(self) -> None:
        self.present: set[int] = set()
        self.removed: set[int] = set()
        self.digests: dict[int, str] = {}

    def note(self, line: str) -> None:
        """Take one acknowledged line."""
        verb, *rest = line.split()
        if verb == "add":
            self.present |= set(map(int, rest))
        elif verb == "remove":
            self.present -= set(map(int, rest))
            self.removed |= set(map(int, rest))
        elif verb == "update":
            self.digests[int(rest[0])] = rest[1]

    def faults(self, collection: Collection, last: str) -> list[str]:
        """Return what the collection breaks; `last` is the verb that was under way, whose work may be done or not."""
        doubtful = set(map(int, last.split()[2:])) if last.startswith(("begin remove", "begin update")) else set()
        held = {item.id: item.digest for item in collection.photos(limit=1_000_000)}
        faults = [f"item {id} was acknowledged and is lost" for id in self.present - set(held) - doubtful]
        faults += [f"item {id} was removed and is there" for id in self.removed & set(held)]
        for id, digest in self.digests.items():
            if id in held and id not in doubtful and held[id] != digest:
                faults.append(f"the update of {id} was acknowledged and is lost")
        faults += [fault.what for fault in collection.check() if not fault.repaired]
        # Each item has a vector of the active model.
        vectors = collection.store.vectors(list(held)) if held else np.ones((0, 1))
        if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4):
            faults.append("a vector is not of length 1")
        self.present, self.removed = set(held), self.removed
        return faults


def kill_often(times: int, postgres: bool) -> dict[str, object]:
    """Kill a working process many times; returns how often, during which verbs, and what was broken."""
    # The process that others are forked from finds this file by it.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (BENCHES, *sys.path)))
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        location = new_postgres_location() if postgres else str(Path(name) / "photos")
        folder = Path(name) / "files"
        folder.mkdir()
        Collection.create(location, small_model(1)).close()
        ledger = Ledger()
        during: dict[str, int] = {}
        # The seconds that each verb has taken.
        durations = {verb: [0.05] for verb in VERBS}
        faults: list[str] = []
        for number in range(times):
            wanted = VERBS[number % len(VERBS)]
            seconds = rng.uniform(0, float(np.median(durations[wanted])))
            last = _one_kill(location, folder, number + 1, wanted, seconds, ledger.note, durations)
            verb = last.split()[1] if last.startswith("begin ") else "between"
            during[verb] = during.get(verb, 0) + 1
            with Collection.open(location) as collection:
                faults += [f"kill {number + 1}: {fault}" for fault in ledger.faults(collection, last)]
                items = len(collection)
            print(f"kill {number + 1} during {verb}: {items} items, {len(faults)} faults", file=sys.stderr, flush=True)
    return {"kills": times, "during": during, "faults": faults}


def _one_kill(
    location: str,
    folder: Path,
    seed: int,
    wanted: str,
    seconds: float,
    note: Callable[[str], None],
    durations: dict[str, list[float]],
) -> str:
    """Start a process, kill it some seconds after it has begun a verb for the second time, and return its last line."""
    # Forked from one that has imported everything and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["collection_kills"])
    lines, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=work, args=(location, folder, seed, theirs), daemon=True)
    worker.start()
    theirs.close()
    begun, start, last = 0, 0.0, ""
    while begun < 2:
        last, now = lines.recv(), time.perf_counter()
        if last.startswith("begin"):
            begun += last.split()[1] == wanted
            start = now
        else:
            durations[last.split()[0]].append(now - start)
            note(last)
    time.sleep(seconds)
    worker.kill()
    # A line that was cut short was not acknowledged.
    with suppress(EOFError, OSError):
        while True:
            last = lines.recv()
            if not last.startswith("begin"):
                note(last)
    worker.join()
    return last


def new_postgres_location() -> str:
    sys.path.insert(0, str(BENCHES.parent / "tests"))
    from support.postgres_server import new_url

    return new_url(is_durable=True)
