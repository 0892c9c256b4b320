"""The GPU run: its dry run goes through every part, and what goes wrong in one part does not stop the others."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pairlens.losses import Circle
from pairlens.training.criterion import Criterion

ROOT = Path(__file__).resolve().parent.parent.parent
BENCHES = ROOT / "benches"
PARTS = ("tests", "step", "losses", "evaluation", "cub", "kernels", "backbones")


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
    for name in ("circle", "multi-similarity", "SupCon", "NT-Xent"):
        assert parts["kernels"]["rows"][f"{name}, float32, verdict"]["verdict"] == "not kept"  # the interpreter is slow
        assert {"eager", "compiled", "chunks", "triton"} == parts["kernels"]["rows"][f"{name}, float32"].keys()
        assert parts["kernels"]["rows"][f"{name}, float32"]["triton"]["40"]["seconds"] > 0
    assert "circle, tf32, verdict" in parts["kernels"]["rows"]
    for row in parts["evaluation"]["rows"].values():
        assert row["same neighbour, share"] == 1.0
        assert row["R@1 apart"] == 0.0
    assert parts["backbones"]["rows"]["test_resnet, from scratch, circle"]["epoch"] == 1
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
    for words in (
        "| ours, compiled |",
        "| circle |",
        "| 1000 x 32 |",
        "| pretrained backbone as it comes |",
        "passed",
        "**not kept**",
        "| test_resnet, from scratch, circle | 1 of 1 |",
    ):
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


def test_part_that_was_cut_off_goes_on_where_it_stopped(gpu, tmp_path):
    results = gpu.Results(tmp_path / "gpu.json")
    results.open_for(dry_run=True)
    machine = {"device": "a card", "commit": "abc", "date": "2026-11-28"}
    assert results.begin("losses", machine) == {}
    results.save("losses", "circle", 1)
    results.save("losses", "error", "out of memory")
    results.finish("losses", "stopped: its time was used up", 3.0)
    assert results.begin("losses", {**machine, "date": "2026-11-29"}) == {"circle": 1}
    assert results.begin("losses", {**machine, "commit": "def"}) == {}


def test_part_that_was_finished_is_measured_again(gpu, tmp_path):
    results = gpu.Results(tmp_path / "gpu.json")
    results.open_for(dry_run=True)
    results.begin("losses", {"device": "a card"})
    results.save("losses", "circle", 1)
    results.finish("losses", "finished", 3.0)
    assert results.begin("losses", {"device": "a card"}) == {}


def test_stored_rows_are_not_measured_again(gpu, tmp_path):
    from gpu_parts.context import PartContext

    results = gpu.Results(tmp_path / "gpu.json")
    results.open_for(dry_run=True)
    context = PartContext(results, "losses", 0.0, True, None, earlier={"circle": 1})
    assert context.measure_once("circle", lambda: pytest.fail("measured again")) == 1
    assert context.measure_once("triplet", lambda: 2) == 2
    assert results.read()["parts"]["losses"]["rows"] == {"triplet": 2}


def test_results_of_several_calls_become_one_file(tmp_path):
    for name, part in (("first", "step"), ("second", "cub")):
        (tmp_path / name).mkdir()
        stored = {"dry_run": False, "parts": {part: {"rows": {"row": 1}}, "tests": {"rows": {}}}}
        (tmp_path / name / "gpu.json").write_text(json.dumps(stored), encoding="utf-8")
    done = run_script("--out", tmp_path / "first", "--add", tmp_path / "second" / "gpu.json")
    assert done.returncode == 0, done.stderr
    assert "took over cub from" in done.stdout
    parts = json.loads((tmp_path / "first" / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert [name for name, part in parts.items() if part["rows"]] == ["step", "cub"]


def test_machine_without_triton_skips_the_kernels(gpu, tmp_path, monkeypatch):
    from gpu_parts import kernel_speed

    monkeypatch.setattr(kernel_speed, "find_spec", lambda _name: None)
    options = gpu.Options(out=tmp_path, dry_run=True, run_part="kernels", deadline=0.0)
    results = gpu.Results(tmp_path / "gpu.json")
    results.open_for(dry_run=True)
    # open_context replaces it, and other tests need the real one.
    monkeypatch.setattr("torch.compile", torch.compile)
    with pytest.raises(SystemExit) as ended:
        gpu.run_one_part(options)
    assert ended.value.code == gpu.PART_SKIPPED
    assert "Triton is not installed" in results.read()["parts"]["kernels"]["rows"]["skipped"]
    results.finish("kernels", "skipped; the reason is printed above", 0.1)
    assert results.finished(("kernels",))


def times(seconds):
    return {str(512 * 2**power): {"seconds": value} for power, value in enumerate(seconds)}


def exact():
    return {f"{way}, {what}": 1e-7 for way in ("triton", "eager", "chunks") for what in ("value", "gradient")}


@pytest.mark.parametrize(
    ("product", "chunks", "triton", "word"),
    [
        ([1.0, 4.0], [2.0, 8.0], [0.6, 2.5], "not kept"),
        ([1.0, 4.0], [2.0, 8.0], [0.4, 1.9], "kept"),
        ([1.0], [2.0], [2.0, 2.0, 2.0], "kept"),
        ([1.0], [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "chunks instead"),
    ],
)
def test_the_rule_of_the_kernels(gpu, product, chunks, triton, word):
    from gpu_parts.kernel_speed import verdict

    row = {"eager": times(product), "compiled": {}, "chunks": times(chunks), "triton": times(triton)}
    assert verdict(row, exact())["verdict"] == word
    assert verdict(row, {**exact(), "triton, gradient": float("nan")})["verdict"] == "wrong"


def test_chunks_of_anchors_have_the_value_and_gradient_of_the_loss(gpu):
    from gpu_parts.row_chunks import RowChunks

    labels = torch.arange(11) // 3
    points = [torch.randn(11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for loss, leaf in zip((Criterion(Circle()), RowChunks(Circle(), anchors=4)), points, strict=True):
        (2 * loss(leaf.requires_grad_(), labels)).backward()
    torch.testing.assert_close(points[0].grad, points[1].grad)
