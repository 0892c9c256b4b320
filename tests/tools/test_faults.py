"""Processes killed at any moment; `tools/faults.py --kills 40` is the long version."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_killed_and_started_again_ends_as_what_was_left_alone(tmp_path):
    command = [sys.executable, ROOT / "tools" / "faults.py", "--kills", "6", "--preparations", "2", "--commands", "0"]
    command += ["--setups", "chance", "--out", tmp_path / "faults", "--results", tmp_path / "faults.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] == 8
