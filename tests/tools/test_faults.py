"""Processes killed at any moment, and other faults; `tools/faults.py --kills 40 --conditions 20` is the long version."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_killed_and_started_again_ends_as_what_was_left_alone(tmp_path):
    command = [sys.executable, ROOT / "tools" / "faults.py", "--kills", "3", "--preparations", "2", "--commands", "0"]
    command += [
        "--conditions",
        "1",
        "--setups",
        "chance",
        "--out",
        tmp_path / "faults",
        "--results",
        tmp_path / "faults.json",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == 5
    # One trial of each of the five conditions; each asserts what it promises.
    assert sum(result["conditions"].values()) == 5
