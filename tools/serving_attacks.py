"""Sends hostile uploads to a server, and looks at its answers, its memory, and what a neighbour notices.

    python tools/serving_attacks.py                  # 1,000 uploads: about 5 minutes on 2 cores
    python tools/serving_attacks.py --uploads 100
    python tools/serving_attacks.py --write          # keep the figures in benches/results/serving.json

A server of a small collection is started. Eight strangers send it picture files that are truncated, damaged, lie about
their size, decode to gigabytes, or are no pictures at all; forms and JSON that are broken; bodies without end, and bodies
and headers that come drop by drop. Meanwhile a neighbour searches by id. It fails (exit status 1) if an answer has a status
of 500 or more that is not 503, if the server uses more than 1.2 times its memory afterwards, or if the neighbour's searches
take more than 1.5 times as long as before (median).
"""

import json
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from support.hostile_uploads import FILES, broken_request, form, photo  # noqa: E402 (tests/ is on the path only now)
from support.served_collection import make_collection, picture  # noqa: E402
from support.server_process import ServerProcess, server_process  # noqa: E402
from support.serving_results import write_figures  # noqa: E402

PATHS = ("/api/search", "/api/photos", "/api/embed", "/")


@dataclass(frozen=True)
class Options:
    """How much is sent."""

    uploads: int = 1000
    strangers: int = 8
    seed: int = 0
    write: bool = False


def posted(server: ServerProcess, path: str, body: bytes, kind: str) -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=180)
    try:
        connection.request("POST", path, body, {"content-type": kind})
        return connection.getresponse().status
    except (ConnectionError, HTTPException):
        # Cut off while the body was being sent, which is an answer, too.
        return 0
    finally:
        connection.close()


def endless(server: ServerProcess) -> int:
    """Send a chunked body until the server ends it."""
    with server.connected(60) as connection:
        try:
            connection.sendall(b"POST /api/search HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n")
            connection.sendall(b"content-type: multipart/form-data; boundary=x\r\n\r\n")
            head = b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a"\r\n\r\n'
            connection.sendall(b"%x\r\n%s\r\n" % (len(head), head))
            for _ in range(20_000):
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            return status_of(connection)
        raise SystemExit("a body of 1.3 GB was read to its end")


def dripping(server: ServerProcess, in_headers: bool) -> int:
    """Send a byte every few seconds."""
    with server.connected(200) as connection:
        connection.settimeout(3)
        connection.sendall(b"POST /api/search HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        if not in_headers:
            connection.sendall(b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                connection.sendall(b"x")
                if not (data := connection.recv(4096)):
                    return 0
                return int(data.split()[1])
            except TimeoutError:
                continue
            except OSError:
                return 0
        raise SystemExit("a request was waited for without end")


def status_of(connection: socket.socket) -> int:
    try:
        data = connection.recv(4096)
    except OSError:
        return 0
    return int(data.split()[1]) if data else 0


class Neighbour:
    """Searches by id all the time."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def times(self, seconds: float, stop: threading.Event) -> list[float]:
        """Return the milliseconds of each search."""
        times, end = [], time.monotonic() + seconds
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        body = json.dumps({"id": 1, "k": 5})
        while time.monotonic() < end and not stop.is_set():
            start = time.perf_counter()
            connection.request("POST", "/api/search", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"the neighbour got {answer.status}")
            times.append(1000 * (time.perf_counter() - start))
            time.sleep(0.02)
        return times


def resident(server: ServerProcess) -> float:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("pairlens_resident_memory_bytes")).split()[1]) / 1e6


def attack(server: ServerProcess, options: Options) -> Counter:
    statuses: Counter = Counter()
    numbers = iter(range(options.uploads))
    lock = threading.Lock()

    def one(number: int) -> tuple[str, int]:
        chance = random.Random(options.seed * 1_000_003 + number)
        if number % 100 == 50:
            return "endless body", endless(server)
        if number % 100 in (20, 70):
            return "slow", dripping(server, number % 100 == 70)
        if number % 8 == 7:
            return "broken request", posted(server, PATHS[number % 4], *broken_request(chance))
        make = FILES[number % len(FILES)]
        return make.__name__, posted(server, chance.choice(PATHS), *form(make(chance)))

    def stranger() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            outcome = one(number)
            with lock:
                statuses[outcome] += 1

    threads = [threading.Thread(target=stranger) for _ in range(options.strangers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def main(options: Options) -> None:
    with TemporaryDirectory() as name:
        make_collection(Path(name) / "shop", 60).close()
        with server_process(Path(name) / "shop") as server:
            for number in range(40):
                posted(server, "/api/search", *form(picture(1000 + number, (1200, 900))))
                posted(server, "/api/photos", *form(photo("JPEG", (640 + number, 480))))
            neighbour = Neighbour(server)
            before = neighbour.times(10, threading.Event())
            memory_before = resident(server)
            during: list[float] = []
            stop = threading.Event()
            watching = threading.Thread(target=lambda: during.extend(neighbour.times(3600, stop)))
            watching.start()
            start = time.monotonic()
            statuses = attack(server, options)
            seconds = time.monotonic() - start
            stop.set()
            watching.join()
            time.sleep(3)
            memory_after = resident(server)
            after = neighbour.times(5, threading.Event())
    for (kind, status), count in sorted(statuses.items()):
        print(f"{count:6} {kind:15} {status or 'cut off'}")
    bad = {key: count for key, count in statuses.items() if key[1] >= 500 and key[1] != 503}
    medians = [statistics.median(times) for times in (before, during, after)]
    print(f"{sum(statuses.values())} uploads in {seconds:.0f} s; answers of 5xx but 503: {sum(bad.values())}")
    print(
        f"memory: {memory_before:.0f} MB before, {memory_after:.0f} MB after ({memory_after / memory_before:.2f} times)"
    )
    print("neighbour's search, median: {:.1f} ms before, {:.1f} ms during, {:.1f} ms after".format(*medians))
    figures = {
        "uploads": sum(statuses.values()),
        "seconds": round(seconds),
        "wrong_answers": sum(bad.values()),
        "memory_by_before": round(memory_after / memory_before, 2),
        "neighbour_ms": [round(median, 1) for median in medians],
        "neighbour_by_before": round(medians[1] / medians[0], 2),
    }
    if options.write:
        write_figures("attacks", figures)
    if bad or memory_after > 1.2 * memory_before or medians[1] > 1.5 * medians[0]:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
