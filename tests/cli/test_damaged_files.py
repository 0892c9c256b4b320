"""Every file of a run and of its data set, damaged in several ways, under every command that opens it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pairlens.cli.main import main
from pairlens.experiments.run import run
from pairlens.experiments.run_folder import RunFolder
from support.experiments import changed


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A finished run beside its data set, in one folder that can be copied."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny.data.path / "bars", folder / "data" / "bars")
    experiment = changed(tiny, backbone="test_resnet", num_epochs=1, data_path=folder / "data", log_analysis=False)
    run(experiment, folder / "run")
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    run_folder = RunFolder(folder / "run")
    run_folder.write_experiment(changed(run_folder.experiment(), data_path=folder / "data"))
    return folder


def emptied(data: bytes) -> bytes:
    return b""


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """Turn over some bits in the head and at the end, where an Arrow file says what is in it."""
    turned = lambda part: bytes(b ^ 0x55 for b in part)  # noqa: E731
    return data[:4] + turned(data[4:40]) + data[40:-40] + turned(data[-40:])


def foreign(data: bytes) -> bytes:
    return b'{"of": "another program"}\n'


COMMANDS = {
    "resume": lambda run, out: ["train", "--resume", run],
    "evaluate": lambda run, out: ["evaluate", run],
    "query": lambda run, out: ["query", run, "--out", out],
    "inspect": lambda run, out: ["inspect", run, "--out", out],
}
READ = {
    "run/config.json": ("resume", "evaluate", "query", "inspect"),
    "run/outcome.json": ("evaluate", "query", "inspect"),
    "run/model.safetensors": ("evaluate", "query", "inspect"),
    "run/model.json": ("evaluate", "query", "inspect"),
    "run/gallery.safetensors": ("query",),
    "run/checkpoint.safetensors": ("resume",),
    "data/bars/uncropped.arrow": ("resume", "evaluate", "query", "inspect"),
    "data/bars/uncropped.json": ("resume", "evaluate", "query", "inspect"),
}
WAYS = (emptied, halved, flipped, foreign)
CASES = [(file, way, command) for file, names in READ.items() for way in WAYS for command in names]


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}


def status_of(words) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.mark.parametrize(("file", "way", "command"), CASES, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_damaged_file_is_one_sentence_that_names_it(copied, tmp_path, capsys, file, way, command):
    damaged = copied / file
    # Without it a damaged checkpoint would be replaced by the one before it.
    (copied / "run" / "checkpoint_previous.safetensors").unlink(missing_ok=True)
    damaged.write_bytes(way(damaged.read_bytes()))
    before = contents(copied)
    assert status_of(COMMANDS[command](copied / "run", tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error.startswith("pairlens: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert damaged.name in error or str(damaged.parent) in error
    assert contents(copied) == before


def test_tables_of_a_run_are_written_from_its_checkpoint(copied):
    before = contents(copied)
    for name in ("outcome.json", "statistics.csv", "model.safetensors"):
        (copied / "run" / name).write_bytes(b"")
    assert status_of(["train", "--resume", copied / "run"]) == 0
    mended = contents(copied)
    for name in ("outcome.json", "statistics.csv", "model.safetensors"):
        assert mended[copied / "run" / name] == before[copied / "run" / name], name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dim": 32}, "of another shape"),
        ({"backbone": "resnet10t"}, "of another shape"),
        ({"layers": 3}, "unknown key 'layers'"),
    ],
)
def test_a_model_of_another_shape_is_one_sentence(copied, tmp_path, capsys, change, sentence):
    file = copied / "run" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    assert status_of(["query", copied / "run", "--out", tmp_path / "out"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_model_that_did_not_embed_the_gallery_is_one_sentence(copied, tmp_path, capsys):
    weights = load_file(copied / "run" / "model.safetensors")
    weights["projections.0.weight"] += 1
    save_file(weights, copied / "run" / "model.safetensors")
    assert status_of(["query", copied / "run", "--out", tmp_path / "out"]) == 2
    assert "the gallery was embedded with another model" in capsys.readouterr().err


@pytest.mark.parametrize("vectors", [torch.zeros(24), torch.zeros(24, 7), torch.zeros(23, 16)])
def test_a_gallery_of_another_shape_is_one_sentence(copied, tmp_path, capsys, vectors):
    file = copied / "run" / "gallery.safetensors"
    with safe_open(file, framework="pt") as stored:
        names = stored.metadata()
    save_file({"vectors": vectors, "labels": torch.zeros(24, dtype=torch.long)}, file, names)
    assert status_of(["query", copied / "run", "--out", tmp_path / "out"]) == 2
    assert "pairlens evaluate" in capsys.readouterr().err


def test_a_config_or_a_checkpoint_of_another_version_says_so(copied, capsys):
    config, checkpoint = copied / "run" / "config.json", copied / "run" / "checkpoint.safetensors"
    text = config.read_text(encoding="utf-8")
    config.write_text(json.dumps(json.loads(text) | {"warp": 9}), encoding="utf-8")
    assert status_of(["train", "--resume", copied / "run"]) == 2
    assert "unknown key 'warp'" in (error := capsys.readouterr().err)
    assert "another version of Pairlens" in error
    config.write_text(text, encoding="utf-8")
    with safe_open(checkpoint, framework="pt") as stored:
        names = stored.metadata()
    save_file(load_file(checkpoint), checkpoint, {**names, "version": "1"})
    assert status_of(["train", "--resume", copied / "run"]) == 2
    assert "written by another version of Pairlens" in capsys.readouterr().err


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_study_is_one_sentence(compared, tmp_path, capsys, way):
    (tmp_path / "study.json").write_bytes(way((compared / "study.json").read_bytes()))
    assert status_of(["compare", "--resume", tmp_path]) == 2
    assert "study.json" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1
