"""The threads of PyTorch in a command sleep soon, unless the user has said something else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (("-m", "pairlens", "losses"), ("train.py", "--help"), ("test.py", "--help"), ("data_utils.py", "--help"))


def looks(words, **variables):
    """Return how often a waiting thread of a command looks before it sleeps, as the OpenMP library of PyTorch says."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP_", "OMP_"))}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    lines = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not lines:
        pytest.skip("PyTorch has another OpenMP library here")
    return {line.partition("'")[2].rstrip("'") for line in lines}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_threads_that_sleep_soon(words):
    assert looks(words) == {"30000"}


def test_what_the_user_has_set_stays():
    assert looks(COMMANDS[0], GOMP_SPINCOUNT="77") == {"77"}
    assert looks(COMMANDS[0], OMP_WAIT_POLICY="passive") == {"0"}


def test_the_package_as_a_library_changes_no_environment():
    code = "import os, pairlens; pairlens.Criterion; print('GOMP_SPINCOUNT' in os.environ)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GOMP_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout == "False\n"
