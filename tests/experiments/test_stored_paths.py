import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

import pairlens as pl
from pairlens.comparison.study_file import STUDY_FILE, read_study
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.stored_paths import as_opened, as_stored
from pairlens.model.embedder import Embedder
from support.commands import QUICK, run
from support.experiments import changed


@pytest.fixture
def project(data_path, tmp_path, monkeypatch):
    """A project folder with data, as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(data_path, folder / "data")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def trained(project):
    """A run of the project, trained from its folder with relative paths."""
    assert run("train", "circle", "--runs", "runs", "--name", "r", *QUICK) == 0
    return project / "runs" / "r"


def test_the_stored_path_leads_from_the_run(trained):
    stored = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert stored["data"]["path"] == "../../data"
    assert RunFolder(Path("runs/r")).experiment().data.path == Path("data")


@pytest.mark.usefixtures("without_rendering")
@pytest.mark.parametrize("command", ["evaluate", "query", "inspect", "report"])
def test_a_run_opens_from_any_folder(trained, tmp_path, monkeypatch, command, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    device = [] if command in ("query", "report") else ["--device", "cpu"]
    assert run(command, trained, *device) == 0
    assert "left out" not in capsys.readouterr().out
    monkeypatch.chdir(trained)
    assert run("query", ".") == 0


def test_a_project_can_be_moved_as_a_whole(trained, project, tmp_path, monkeypatch):
    moved = tmp_path / "moved" / "deeper"
    moved.parent.mkdir()
    project.rename(moved)
    monkeypatch.chdir("/")
    gallery = pl.Gallery.open(moved / "runs" / "r")
    assert gallery.whole.file.is_relative_to(moved)
    assert run("train", "--resume", moved / "runs" / "r") == 0


def test_a_run_behind_a_link_and_a_data_folder_behind_a_link(project, tmp_path, monkeypatch):
    (project / "data").rename(tmp_path / "disk")
    (project / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "runs").mkdir()
    (project / "runs").symlink_to(tmp_path / "runs")
    assert run("train", "--runs", "runs", "--name", "r", *QUICK) == 0
    monkeypatch.chdir("/")
    assert run("query", project / "runs" / "r", "--out", tmp_path / "a") == 0
    assert run("query", tmp_path / "runs" / "r", "--out", tmp_path / "b") == 0


def test_an_absolute_path_is_kept(tiny, tmp_path):
    absolute = changed(tiny, weights="/w/a.pth")
    assert as_stored(absolute, tmp_path / "runs" / "x") == absolute
    assert as_opened(absolute, tmp_path / "other") == absolute


def test_weights_are_found_from_the_run_and_words_are_not_paths(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = changed(tiny, weights="models/../w.pth", data_path="../d")
    stored = as_stored(relative, Path("runs/x"))
    assert (stored.weights, stored.data.path) == ("../../w.pth", Path("../../../d"))
    opened = as_opened(stored, Path("runs/x"))
    assert (opened.weights, opened.data.path) == ("w.pth", tmp_path.parent / "d")
    monkeypatch.chdir("/")
    assert as_opened(stored, tmp_path / "runs" / "x").weights == (tmp_path / "w.pth").as_posix().lstrip("/")
    for word in ("imagenet", "none"):
        assert as_stored(changed(tiny, weights=word), tmp_path).weights == word


def test_a_run_from_a_weights_file_starts_from_another_folder(project, tmp_path, monkeypatch):
    weights = Embedder(backbone="test_resnet", weights="none", stride="none").backbone.network.state_dict()
    save_file(weights, project / "w.safetensors")
    words = " ".join(QUICK).replace("--weights none", "--weights w.safetensors").split()
    assert run("train", "--name", "r", *words) == 0
    # Only the settings are left, as after a kill before the first checkpoint.
    for file in (project / "runs" / "r").iterdir():
        if file.name != "config.json":
            file.unlink()
    monkeypatch.chdir(tmp_path)
    assert run("train", "--resume", project / "runs" / "r") == 0


def test_a_missing_data_set_is_one_sentence_with_the_option(trained, project, tmp_path, capsys):
    (project / "data").rename(tmp_path / "away")
    for words in (("query", trained), ("evaluate", trained), ("train", "--resume", trained)):
        assert run(*words) == 2
        assert "or give the folder that contains bars as --data_path" in capsys.readouterr().err
    assert run("query", trained, "--data_path", tmp_path / "away") == 0
    assert run("train", "--resume", trained, "--data_path", tmp_path / "away") == 0
    # From then on the run knows where its data set is.
    assert run("query", trained) == 0


def test_a_config_of_version_1_leads_from_the_working_folder(trained, project, tmp_path, monkeypatch):
    known = Path(__file__).parents[1] / "data_version_0_1"
    plain = json.loads((known / "run" / "config.json").read_text(encoding="utf-8"))
    assert not Path(plain["data_path"]).is_absolute()
    shutil.copytree(known, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    assert RunFolder(tmp_path / "old" / "run").experiment().data.path == Path(plain["data_path"])
    assert run("query", "run") == 0


@pytest.mark.usefixtures("without_rendering")
def test_a_study_and_its_runs_open_from_any_folder(project, tmp_path, monkeypatch, capsys):
    assert run("compare", "--losses", "triplet", "circle", "--seeds", 1, "--out", "c", *QUICK) == 0
    stored = json.loads((project / "c" / STUDY_FILE).read_text(encoding="utf-8"))
    assert stored["fields"][0]["settings"]["data"]["path"] == "../data"
    assert read_study(Path("c")).fields[0].settings.data.path == Path("data")
    moved = tmp_path / "moved"
    project.rename(moved)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run("compare", "--resume", moved / "c") == 0
    assert "0 runs to make" in capsys.readouterr().out
    # Made again: the data set is found from the folder of the study.
    shutil.rmtree(moved / "c" / "runs" / "bars" / "circle")
    assert run("compare", "--resume", moved / "c") == 0
    monkeypatch.chdir("/")
    assert run("query", moved / "c" / "runs" / "bars" / "circle" / "seed0", "--out", tmp_path / "q") == 0


def test_a_study_of_version_1_leads_from_the_working_folder(tmp_path, monkeypatch):
    shutil.copytree(Path(__file__).parents[1] / "data_version_0_1", tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    plain = json.loads((tmp_path / "old" / "comparison" / STUDY_FILE).read_text(encoding="utf-8"))
    known = Path(plain["fields"][0]["settings"]["data_path"])
    assert read_study(tmp_path / "old" / "comparison").fields[0].settings.data.path == known
