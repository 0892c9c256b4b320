"""The scripts of docs/your_own_loop.md are the files of examples/, and run on a few photos."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.scripts import run_script

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your_own_loop.md"
SCRIPTS = {file.name: file for file in sorted((ROOT / "examples").glob("*.py"))}
REQUIRED = {"with_lightning.py": ("lightning",), "with_trainer.py": ("transformers", "accelerate")}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six photos of noise in each of eight classes, which differ in their colour."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        place = folder / ("train" if number < 4 else "test") / f"class{number}"
        place.mkdir(parents=True)
        for photo in range(6):
            noise = np.random.default_rng((number, photo)).integers(0, 40, (40, 40, 3))
            color = np.array([25 * number, 200 - 25 * number, 90])
            Image.fromarray((noise + color).astype(np.uint8)).save(place / f"{photo}.png")
    return folder


def run_on_two_ranks(words, folder):
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, encoding="utf-8", check=False)


def test_the_page_shows_every_script_as_it_is():
    shown = re.findall(r"```python\n# examples/(\w+\.py)\n(.*?)\n```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert dict(shown) == {name: file.read_text(encoding="utf-8").rstrip("\n") for name, file in SCRIPTS.items()}


def test_the_loop_of_plain_pytorch_has_at_most_25_lines_of_code():
    lines = SCRIPTS["plain_pytorch.py"].read_text(encoding="utf-8").splitlines()
    assert sum(bool(line) and not line.startswith(('"', "#")) for line in lines) <= 25


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_trains_and_evaluates(name, photos, tmp_path):
    for package in REQUIRED.get(name, ()):
        pytest.importorskip(package, reason=f"{name} needs the package {package}", exc_type=ImportError)
    words = [str(SCRIPTS[name]), str(photos), "test_resnet"]
    if name == "distributed.py":
        done = run_on_two_ranks(words, tmp_path)
    else:
        done = run_script(words, tmp_path, {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    assert "MAP@R" in done.stdout
    # The colours alone tell the classes apart.
    found = re.search(r"R@1 ([0-9.]+) %|'eval_R@1': ([0-9.]+)", done.stdout)
    assert float(found[1] or 100 * float(found[2])) > 50
