"""Too little memory ends a command in one sentence: no traceback, no hang, at any point of the work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairlens.core.memory import check_space_for_faiss, is_out_of_memory
from support.commands import QUICK

ROOT = Path(__file__).parents[2]
# Where it fails depends on the limit: opening the data, building the model, the first step, a thread, the search.
MEGABYTES = (5, 30, 60, 120, 200, 300, 450, 600, 900)
# The C libraries that a process uses may end it where no Python code can help; docs/reliability.md names them.
UNCATCHABLE = (
    "libgomp: Thread creation failed",
    "libgomp: Out of memory allocating",
    "OMP: Error",
    "cannot allocate memory for thread-local data: ABORT",
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of addresses that the system enforces")


def trials(limits, *words):
    command = [sys.executable, ROOT / "tests/support/little_memory.py", ",".join(map(str, limits)), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, encoding="utf-8", timeout=200, check=True
    )
    return list(map(json.loads, done.stdout.splitlines()))


def test_training_with_little_memory_is_one_sentence(data_path, tmp_path):
    words = ("train", *QUICK, "--workers", 2, "--data_path", data_path, "--runs", tmp_path, "--name", "RUN")
    results = trials(MEGABYTES, *words)
    assert [trial["megabytes"] for trial in results] == list(MEGABYTES)
    for trial in results:
        assert trial["status"] is not None, f"it hung: {trial}"
        if trial["status"] == 0 or any(words in trial["error"] for words in UNCATCHABLE):
            continue
        assert trial["status"] == 2, trial
        assert trial["error"].startswith("pairlens: "), trial
        assert trial["error"].count("\n") == 1, trial
        assert "there is not enough memory" in trial["error"], trial
    assert any(trial["status"] == 2 for trial in results[:2])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        ImportError("libopenblas.so: failed to map segment from shared object"),
    ],
    ids=str,
)
def test_too_little_memory_is_recognised_in_the_words_of_every_library(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("cannot allocate memory"), OSError(2, "no")]
)
def test_other_errors_are_not_taken_for_too_little_memory(error):
    assert not is_out_of_memory(error)


def test_the_space_for_faiss_is_checked_and_given_back():
    def addresses():
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])

    before = addresses()
    for _ in range(3):
        check_space_for_faiss()
    assert addresses() - before < 10_000
