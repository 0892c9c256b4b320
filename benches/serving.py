"""How fast is a served collection, beside the same collection in Python and beside a Gradio page?

    python benches/serving.py                                # all parts: about 6 minutes on 2 cores
    python benches/serving.py --parts vector --items 10000

- vector: one client that sends a vector of 512 numbers over HTTP, packed as `Collection.connect` sends it and as a list of
  numbers, against `Collection.search` with the same vector.
- photo: one client that sends real photos, against the model's forward pass alone, at the same number of items.
- load, load_onnx, load_vector: 16 clients that search at the same time, against one client, and how much the slowest of
  them wait: real photos with PyTorch and with `--runtime onnx`, and vectors. Beside the ratio stands what free cores
  would allow, which other work of the machine does not change: the processor time of a search by one client, by that of a
  search of 16 clients, clients included, times the cores. The slowest request of the 16 clients stands beside the time that
  the last of 16 requests would take if they were answered one by one.
- page: from the choice of a photo to the first results in headless Chromium.
- start: from the start of the command to the first answer, with a model of PyTorch and with the same one as an ONNX file.
- gradio: the same for a page of Gradio over the same vectors in a FAISS index; needs the package gradio, see --gradio.

Vectors are clustered, as those of trained models are: centres and items around them are drawn in 64 dimensions and
projected. Photos are those of ten bird species (shared/data/cub200_2010_ten.tar beside the repository), or of --photos. The
two ways that are compared take turns, so that a busy machine slows both. Writes benches/results/serving.json.
"""

import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

# One core for each side, as in the server that is started here: this process also plays the clients.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tyro

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import CollectionModel, backbone_model, onnx_model
from pairlens.collection.item import NewItem
from pairlens.collection.packed_vector import pack_vector
from pairlens.collection.photo_view import view_photo
from pairlens.export.onnx_model import onnx_contents

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results" / "serving.json"
sys.path.insert(0, str(ROOT / "tests"))
from support.server_process import ServerProcess, server_process  # noqa: E402 (tests/ is on the path only now)

Part = Literal["vector", "photo", "load", "load_onnx", "load_vector", "page", "start", "gradio"]
# Of one comparison, after which the two sides have taken turns.
VECTOR_ROUNDS = 9


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = get_args(Part)
    items: int = 60_502
    repeats: int = 60
    clients: int = 16
    seconds: float = 30.0
    model: str = "efficientnet_lite0"
    photos: Path | None = None
    gradio: Path | None = None
    """a folder into which pip has installed gradio with --target"""
    write: bool = True


def clustered(count: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(0)
    centres = random.normal(size=(count // 60 + 1, 64))
    points = centres[random.integers(0, len(centres), count)] + 0.5 * random.normal(size=(count, 64))
    vectors = points @ random.normal(size=(64, dim)) + 0.1 * random.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fill(collection: Collection, fingerprint: str, dim: int, count: int, thumbnails: list[bytes]) -> None:
    vectors = clustered(count, dim)
    for start in range(0, count, 5000):
        items = [
            NewItem(
                "", f"class {n % 200}/{n}.jpg", f"{n:064x}", None, f"class {n % 200}", {}, 500, 400, n << 20,
                thumbnails[n % len(thumbnails)],
            )
            for n in range(start, min(start + 5000, count))
        ]  # fmt: skip
        collection.store.add(items, vectors[start : start + len(items)], fingerprint)


@contextmanager
def real_photos(folder: Path | None) -> Iterator[list[bytes]]:
    with TemporaryDirectory() as temporary:
        if folder is None:
            archive = ROOT.parent / "shared" / "data" / "cub200_2010_ten.tar"
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
            folder = Path(temporary)
        yield [file.read_bytes() for file in sorted(folder.rglob("*.jpg"))]


class Client:
    """One connection that stays open, as a program would use it."""

    def __init__(self, server: ServerProcess) -> None:
        self.connection = HTTPConnection("127.0.0.1", server.port, timeout=120)

    def post(self, body: bytes, kind: str) -> dict:
        """Return the answer to a search."""
        self.connection.request("POST", "/api/search", body, {"content-type": kind})
        answer = self.connection.getresponse()
        contents = answer.read()
        if answer.status != 200:
            raise RuntimeError(contents.decode())
        return json.loads(contents)

    def search_vector(self, vector: np.ndarray) -> dict:
        """Search with a vector as `Collection.connect` sends it."""
        return self.search_json(pack_vector(vector))

    def search_numbers(self, vector: np.ndarray) -> dict:
        """Search with a vector as a list of numbers."""
        return self.search_json(vector.tolist())

    def search_json(self, vector: str | list[float]) -> dict:
        """Search with a vector in a body of JSON."""
        return self.post(json.dumps({"vector": vector, "k": 10}).encode(), "application/json")

    def search_photo(self, photo: bytes) -> dict:
        """Search with a picture file."""
        head = b'--x\r\ncontent-disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        return self.post(head + photo + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median_ms": round(statistics.median(times), 2),
        "p25_ms": round(ordered[len(ordered) // 4], 2),
        "p75_ms": round(ordered[3 * len(ordered) // 4], 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "count": len(times),
    }


def measure_vector(server: ServerProcess, folder: Path, options: Options) -> dict:
    queries = clustered(options.repeats + 5, 512)
    client = Client(server)
    with Collection.open(folder) as collection:
        ways = {
            "python": partial(collection.search, k=10),
            "http": client.search_vector,
            "http_numbers": client.search_numbers,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        ratios: dict[str, list[float]] = {"http": [], "http_numbers": []}
        for query in queries[:5]:
            for way in ways.values():
                way(query)
        for _ in range(VECTOR_ROUNDS):
            # One side after the other: the vectors of one would drive the program of the other out of the caches.
            last = {name: [timed(partial(way, query)) for query in queries[5:]] for name, way in ways.items()}
            for name, values in last.items():
                times[name] += values
            for name, values in ratios.items():
                values.append(round(statistics.median(last[name]) / statistics.median(last["python"]), 3))
    return {
        **{name: summary(values) for name, values in times.items()},
        "ratio": statistics.median(ratios["http"]),
        "ratios": ratios["http"],
        "ratio_numbers": statistics.median(ratios["http_numbers"]),
        "ratios_numbers": ratios["http_numbers"],
        "items": options.items,
    }


def measure_photo(server: ServerProcess, folder: Path, photos: list[bytes], options: Options) -> dict:
    client = Client(server)
    with Collection.open(folder) as collection:
        model = collection.model
        for photo in photos[:3]:
            client.search_photo(photo)
            model.embed(view_photo(photo, model.view).seen[None])
        http, forward, reading, rest = [], [], [], []
        for photo in photos[3 : options.repeats + 3]:
            seen = view_photo(photo, model.view).seen[None]
            reading.append(timed(lambda photo=photo: view_photo(photo, model.view)))
            forward.append(timed(lambda seen=seen: model.embed(seen)))
            http.append(timed(lambda photo=photo: client.search_photo(photo)))
            rest.append(http[-1] - forward[-1])
    return {
        "http": summary(http),
        "forward": summary(forward),
        "reading_the_photo": summary(reading),
        "above_the_forward_pass_ms": round(statistics.median(rest), 2),
        "items": options.items,
    }


def processor_seconds(server: ServerProcess) -> float:
    """Return the processor time that the server and this process, which plays the clients, have used (Linux)."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


def measure_load(server: ServerProcess, search: Callable[[Client, int], object], options: Options) -> dict:
    """Let one client search, and many at the same time, in turns; `search` gets a number that is never the same."""

    def run(offset: int, clients: int, seconds: float) -> tuple[list[float], float, float]:
        times: list[float] = []
        end = time.monotonic() + seconds

        def work(number: int) -> None:
            client, turn = Client(server), number
            while time.monotonic() < end:
                times.append(timed(partial(search, client, turn)))
                turn += clients

        start, used = time.monotonic(), processor_seconds(server)
        threads = [threading.Thread(target=work, args=(offset * 1_000_000 + n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        used = processor_seconds(server) - used
        return times, len(times) / (time.monotonic() - start), 1000 * used / len(times)

    rounds = []
    for offset in range(4):
        rounds.append(
            (run(2 * offset, 1, options.seconds / 4), run(2 * offset + 1, options.clients, options.seconds / 2))
        )
    answer: dict[str, Any] = {}
    for name, side in (("one_client", 0), (f"{options.clients}_clients", 1)):
        answer[name] = {
            **summary([value for one in rounds for value in one[side][0]]),
            "per_second": round(statistics.median(one[side][1] for one in rounds), 2),
            "processor_ms": round(statistics.median(one[side][2] for one in rounds), 2),
        }
    one, many = answer["one_client"], answer[f"{options.clients}_clients"]
    return {
        **answer,
        "throughput_ratio": round(statistics.median(many[1] / one[1] for one, many in rounds), 2),
        "ratio_with_free_cores": round((os.cpu_count() or 1) * one["processor_ms"] / many["processor_ms"], 2),
        "p99_by_median": round(many["p99_ms"] / many["median_ms"], 2),
        # Of requests that are answered one by one, the last of those that come together waits for all of them.
        "slowest_by_one_by_one": round(
            max(value for _, (times, _, _) in rounds for value in times) / (options.clients * one["median_ms"]), 2
        ),
    }


def measure_page(server: ServerProcess, photos: list[bytes], options: Options) -> dict:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        received: list[int] = []
        # The server answers once it has started.
        page.goto(f"{server.address}/healthz")
        page.on("requestfinished", lambda request: received.append(request.sizes()["responseBodySize"]))
        loaded = timed(lambda: page.goto(server.address, wait_until="load"))
        times = []
        for number in range(-2, 15):
            photo = photos[number % len(photos)] + bytes([number % 256, 1])
            page.goto(server.address)
            file = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo}
            page.evaluate(
                "() => { window.shown = new Promise(done => new MutationObserver(() => { if "
                "(document.querySelector('.verdict')) done(performance.now()); }).observe(document.body, {childList: true, "
                "subtree: true})); "
                "addEventListener('change', () => { window.start = performance.now(); }, {capture: true}); }"
            )
            page.set_input_files("#ask .primary input", file)
            elapsed = page.evaluate("async () => (await window.shown) - window.start")
            if number >= 0:
                times.append(elapsed)
        # What has been loaded is counted when it has ended.
        page.wait_for_load_state("networkidle")
        browser.close()
    return {
        "choice_to_first_results": summary(times),
        "first_load_ms": round(loaded, 1),
        "bytes_received": sum(received),
    }


def measure_start(folder: Path, model: CollectionModel, options: Options) -> dict:
    def answered(collected: str) -> None:
        with server_process(folder / collected) as server:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=120)
            connection.request("GET", "/healthz")
            connection.getresponse().read()

    (folder / "model.onnx").write_bytes(onnx_contents(model.network))
    exported = onnx_model(folder / "model.onnx")
    with Collection.create(folder / "onnx", exported) as collection:
        fill(collection, exported.fingerprint, exported.dim, options.items, [b"thumbnail"])
    times = {collected: [timed(partial(answered, collected)) for _ in range(3)] for collected in ("photos", "onnx")}
    return {
        "first_answer_ms": round(statistics.median(times["photos"]), 1),
        "first_answer_onnx_file_ms": round(statistics.median(times["onnx"]), 1),
    }


GRADIO_PAGE = """
import io, sys
import faiss, gradio, numpy as np
from pairlens.collection.collection import Collection  # noqa: E402
from pairlens.collection.photo_view import view_photo  # noqa: E402
collection = Collection.open(sys.argv[1])
model = collection.model
ids, vectors = zip(*collection.store.vector_blocks())
index = faiss.IndexFlatIP(model.dim)
index.add(np.concatenate(vectors))
ids = np.concatenate(ids)
def search(photo):
    _, rows = index.search(model.embed(view_photo(photo, model.view).seen[None]), 10)
    found = collection.store.thumbnails(ids[rows[0]])
    from PIL import Image
    return [Image.open(io.BytesIO(found[int(id)])) for id in ids[rows[0]]]
page = gradio.Interface(search, gradio.Image(type="numpy"), gradio.Gallery(), api_name="search")
page.launch(server_port=int(sys.argv[2]), quiet=True, prevent_thread_lock=False)
"""


def measure_gradio(folder: Path, photos: list[bytes], options: Options) -> dict:
    if options.gradio is None or not options.gradio.is_dir():
        return {"skipped": "gradio is not installed; give the folder of pip install --target as --gradio"}
    path = os.pathsep.join([str(ROOT / "src"), str(options.gradio)])
    environment = {**os.environ, "PYTHONPATH": path, "GRADIO_ANALYTICS_ENABLED": "False"}
    start = time.perf_counter()
    port = 7861
    process = subprocess.Popen([sys.executable, "-c", GRADIO_PAGE, str(folder), str(port)], env=environment)
    try:
        while True:
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/")
                connection.getresponse().read()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - start > 180:
                    return {"skipped": "the page of Gradio did not start"}
                time.sleep(0.05)
        started = 1000 * (time.perf_counter() - start)
        sys.path.append(str(options.gradio))
        from gradio_client import Client as GradioClient
        from gradio_client import handle_file

        client = GradioClient(f"http://127.0.0.1:{port}", verbose=False)
        times = []
        with TemporaryDirectory() as temporary:
            for number, photo in enumerate(photos[: options.repeats // 2]):
                file = Path(temporary) / f"{number}.jpg"
                file.write_bytes(photo)
                times.append(timed(lambda file=file: client.predict(handle_file(str(file)), api_name="/search")))
        return {"first_answer_ms": round(started, 1), "search": summary(times[2:])}
    finally:
        process.kill()
        process.wait()


def unlike_before(photos: list[bytes]) -> Callable[[Client, int], object]:
    """Return a search for photos, never the same twice, because a server remembers those of the last searches."""
    return lambda client, turn: client.search_photo(photos[turn % len(photos)] + turn.to_bytes(8, "big"))


def main(options: Options) -> None:
    results: dict[str, object] = {}
    with TemporaryDirectory() as name, real_photos(options.photos) as photos:
        folder = Path(name)
        model = backbone_model(options.model)
        thumbnails = [view_photo(photo, model.view).thumbnail for photo in photos[:40]]
        if {"vector", "load_vector"} & set(options.parts):
            with Collection.create(folder / "vectors", "none") as collection:
                collection.store.start_model("bench", 512)
                fill(collection, "bench", 512, options.items, thumbnails)
        if set(options.parts) - {"vector", "load_vector"}:
            with Collection.create(folder / "photos", model) as collection:
                fill(collection, model.fingerprint, model.dim, options.items, thumbnails)
        vectors = clustered(2000, 512)
        with_onnx = ("--runtime", "onnx")
        parts: dict[str, tuple[str, tuple[str, ...], Callable[[ServerProcess], dict]]] = {
            "vector": ("vectors", (), lambda server: measure_vector(server, folder / "vectors", options)),
            "load_vector": (
                "vectors", (), lambda server: measure_load(
                    server, lambda client, turn: client.search_vector(vectors[turn % len(vectors)]), options
                ),
            ),
            "photo": ("photos", (), lambda server: measure_photo(server, folder / "photos", photos, options)),
            "load": ("photos", (), lambda server: measure_load(server, unlike_before(photos), options)),
            "load_onnx": ("photos", with_onnx, lambda server: measure_load(server, unlike_before(photos), options)),
            "page": ("photos", (), lambda server: measure_page(server, photos, options)),
        }  # fmt: skip
        for part, (collected, words, measure) in parts.items():
            if part in options.parts:
                with server_process(folder / collected, *words) as server:
                    results[part] = measure(server)
                print(part, json.dumps(results[part]), flush=True)
        if "start" in options.parts:
            results["start"] = measure_start(folder, model, options)
            print("start", json.dumps(results["start"]), flush=True)
        if "gradio" in options.parts:
            results["gradio"] = measure_gradio(folder / "photos", photos, options)
            print("gradio", json.dumps(results["gradio"]), flush=True)
    if options.write:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        earlier = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        text = io.StringIO()
        json.dump({**earlier, "date": str(date.today()), "machine": machine, **results}, text, indent=1)
        RESULTS.write_text(text.getvalue() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
