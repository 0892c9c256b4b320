"""The GPU run: its dry run goes through every part, and what goes wrong in one part does not stop the others."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BENCHES = ROOT / "benches"
PARTS = ("tests", "step", "losses", "evaluation", "cub")


@pytest.fixture(scope="module")
def gpu():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu", BENCHES / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHES))
        patch.setitem(sys.modules, "gpu", module)
        spec.loader.exec_module(module)
        yield module


def run_script(*words):
    """Run the script in a process of its own, with the package of this tree."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(BENCHES / "gpu.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, cwd=ROOT, timeout=400)


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """The stored results of a whole dry run."""
    out = tmp_path_factory.mktemp("gpu")
    done = run_script("--dry_run", "--out", out)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out / "gpu.json"


def test_dry_run_finishes_every_part_with_rows(dry_run):
    parts = json.loads(dry_run.read_text(encoding="utf-8"))["parts"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(PARTS, "finished")
    assert parts["tests"]["rows"]["counts"]["passed"] > 0
    assert {"plain loop", "ours, eager", "ours, compiled"} <= parts["step"]["rows"].keys()
    assert parts["step"]["rows"]["ours, compiled"]["graph breaks"] == 0
    assert parts["step"]["rows"]["ours, compiled"]["graphs"] >= 1
    assert {"ours", "bare", "peer", "compiled"} <= parts["losses"]["rows"]["circle"]["32"].keys()
    for row in parts["evaluation"]["rows"].values():
        assert row["same neighbour, share"] == 1.0
        assert row["R@1 apart"] == 0.0
    assert parts["cub"]["rows"]["circle, over seeds"]["runs"] == 1
    assert 0 <= parts["cub"]["rows"]["loading"]["share of time the GPU waits"] < 1


def test_tables_of_a_real_run_replace_every_place(gpu, dry_run, tmp_path):
    from gpu_parts.docs_tables import write_tables
    from gpu_parts.results import Results

    document = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs" / "performance.md", document)
    with pytest.raises(ValueError, match="is of a dry run"):
        write_tables(Results(dry_run), document)
    stored = json.loads(dry_run.read_text(encoding="utf-8")) | {"dry_run": False}
    real = tmp_path / "gpu.json"
    real.write_text(json.dumps(stored), encoding="utf-8")
    write_tables(Results(real), document)
    text = document.read_text(encoding="utf-8")
    assert "Not yet run" not in text
    for words in ("| ours, compiled |", "| circle |", "| 1000 x 32 |", "| pretrained backbone as it comes |", "passed"):
        assert words in text
    write_tables(Results(real), document)
    assert document.read_text(encoding="utf-8") == text


def test_document_without_a_marker_is_named(gpu, tmp_path):
    from gpu_parts.docs_tables import write_tables
    from gpu_parts.results import Results

    results = Results(tmp_path / "gpu.json")
    results.open_for(dry_run=False)
    document = tmp_path / "performance.md"
    document.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the markers <!-- gpu:tests -->"):
        write_tables(results, document)


def test_part_that_overruns_is_stopped_and_the_next_one_starts(tmp_path):
    done = run_script("--dry_run", "--out", tmp_path, "--minutes", "0.04", "--parts", "losses", "evaluation")
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert done.returncode == 1
    assert parts["losses"]["status"] == parts["evaluation"]["status"] == "stopped: its time was used up"


def test_failure_of_a_part_is_recorded_and_the_next_one_starts(gpu, tmp_path, monkeypatch):
    def fail(_context):
        raise RuntimeError("the card fell off the bus")

    parts = {"losses": fail, "evaluation": lambda context: context.save("row", 1)}
    monkeypatch.setattr(gpu, "_find_measure", parts.get)

    def run_here(name, options, _end):
        try:
            gpu.run_one_part(gpu.Options(out=options.out, dry_run=True, run_part=name, deadline=0.0))
        except RuntimeError:
            return "failed with exit status 1"
        return "finished"

    monkeypatch.setattr(gpu, "_run_in_process", run_here)
    assert not gpu.run_parts(gpu.Options(out=tmp_path, dry_run=True, parts=("losses", "evaluation")))
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert parts["losses"]["rows"]["error"] == "RuntimeError: the card fell off the bus"
    assert parts["evaluation"]["status"] == "finished"


def test_machine_without_a_gpu_is_one_sentence(tmp_path):
    done = run_script("--out", tmp_path, "--parts", "evaluation", "losses")
    assert done.returncode == 2
    assert "PyTorch sees no GPU here; use --dry_run" in done.stderr
    assert "Traceback" not in done.stderr
    assert "losses" not in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--minutes", "0"], "leaves no time"),
        (["--parts", "cub"], "needs --data_path"),
        (["--data_path", "nowhere"], "is not a folder"),
        (["--write_docs", "--out", "nowhere"], "does not exist"),
    ],
)
def test_wrong_options_are_one_sentence(words, sentence):
    done = run_script(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_dry_and_real_results_do_not_mix(gpu, tmp_path):
    gpu.Results(tmp_path / "gpu.json").open_for(dry_run=True)
    with pytest.raises(ValueError, match="give another --out"):
        gpu.Results(tmp_path / "gpu.json").open_for(dry_run=False)


def test_machine_without_git_is_described(gpu, monkeypatch):
    from gpu_parts import context

    monkeypatch.setenv("PATH", "")
    assert context.machine()["commit"] == "unknown"
