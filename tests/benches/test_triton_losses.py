"""The Triton losses have the values and gradients of Pairlens' losses, in Triton's interpreter on the CPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import triton_differences
from support.triton_differences import BATCHES, LOSSES, SETTINGS

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

ROOT = Path(__file__).resolve().parent.parent.parent


def run_python(*words):
    # Of the pairs that a batch lacks Pairlens warns; the interpreter overflows nowhere, which would be a warning of NumPy.
    filters = ["-W", "error", "-W", "ignore:no photo of this batch"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *filters, *map(str, words)], capture_output=True, encoding="utf-8", env=variables, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def differences():
    return json.loads(run_python(triton_differences.__file__))


@pytest.mark.parametrize("case", [*(f"{loss}: {batch}" for loss in LOSSES for batch in BATCHES), *SETTINGS])
def test_values_and_gradients_are_those_of_pairlens(differences, case):
    assert differences[case]["value apart"] < 1e-13
    assert differences[case]["gradient apart"] < 1e-12


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_is_as_exact_as_float32_can_be(differences, loss):
    found = differences[f"{loss}: float32"]
    assert found["value apart"] < 1e-6
    assert found["gradient apart"] < 1e-5


def test_batches_with_and_without_pairs_are_among_the_cases(differences):
    for loss in LOSSES:
        assert differences[f"{loss}: no multiple of the tile"]["largest gradient"] > 0
        for batch in ("no positives", "no negatives", "two photos of a class", "two photos of two classes", "no photo"):
            assert differences[f"{loss}: {batch}"]["largest gradient"] == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_no_tensor_has_a_byte_for_each_pair(differences, loss):
    # 60 photos have 3,600 pairs; 7 numbers of 4 bytes are kept of each photo.
    assert differences[f"{loss}: bytes"] <= 7 * 60 * 4


def test_every_kernel_compiles_for_a_gpu_without_one(tmp_path, monkeypatch):
    # What the interpreter accepts need not compile: it knows no types of tiles.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    table = run_python(ROOT / "benches" / "triton_compile.py", "--all_losses").splitlines()[2:]
    spilled = [line.split("|")[5].strip() for line in table]
    assert spilled == ["0"] * 10
