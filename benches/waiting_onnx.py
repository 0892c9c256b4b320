"""How fast is an ONNX model whose threads look again and again whether the others are done, and one whose threads sleep?

    python benches/waiting_onnx.py          # half a minute of 2 cores, which nothing else should use

EfficientNet-Lite0 at 224 px embeds one photo with onnxruntime in two threads, with and without "spinning"; the two take
turns, alone and beside as many busy programs as there are cores. Pairlens turns spinning off. Writes
benches/results/waiting_onnx.json.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnxruntime
from provenance import RESULTS, about, write_result
from waiting_threads import BUSY

from pairlens.export.onnx_model import export_onnx
from pairlens.export.parity import ComparedPhotos
from pairlens.model.embedder import Embedder

FILE = RESULTS / "waiting_onnx.json"
SIZE, TURNS, SECONDS = 224, 5, 1.5


def milliseconds(file: Path, spinning: bool) -> float:
    """Return the mean time of one photo."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    photo = {session.get_inputs()[0].name: np.zeros((1, SIZE, SIZE, 3), np.uint8)}
    session.run(None, photo)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        session.run(None, photo)
        count += 1
    return 1000 * (time.perf_counter() - start) / count


def compare(file: Path, busy: int) -> dict[str, object]:
    """Return the medians of both, and how much faster each turn is without spinning."""
    with ExitStack() as stack:
        for _ in range(busy):
            other = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True))
            stack.callback(other.kill)
        turns = [(milliseconds(file, True), milliseconds(file, False)) for _ in range(TURNS)]
    return {
        "spinning_ms": statistics.median(a for a, _ in turns),
        "sleeping_ms": statistics.median(b for _, b in turns),
        "times as fast": sorted(round(a / b, 2) for a, b in turns),
    }


def main() -> None:
    """Measure, print and store."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        model = Embedder(backbone="efficientnet_lite0", dim=512, weights="none", image_size=SIZE).eval()
        export_onnx(model, file, ComparedPhotos(np.zeros((2, SIZE, SIZE, 3), np.uint8)))
        rows = {
            name: compare(file, busy) for name, busy in (("alone", 0), ("beside busy programs", os.cpu_count() or 1))
        }
    print(rows)
    write_result(FILE, {"about": about("onnxruntime"), "rows": rows})


if __name__ == "__main__":
    main()
