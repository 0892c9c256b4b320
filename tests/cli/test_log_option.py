import json
import shutil

import pytest

from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.tracking import TrackedRuns
from support.commands import QUICK, run

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="not installed")


def read(folder):
    """What TensorBoard reads from a run."""
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_train_sends_the_pictures_of_the_map_and_the_worst_queries(data_path, tmp_path, capsys):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK, "--num_epochs", 0]
    assert run("train", "circle", *words, "--log", "tensorboard") == 0
    assert set(read(tmp_path / "r").Tags()["images"]) == {"curves", "map", "worst_queries"}
    assert {file.name for file in (tmp_path / "r/inspection").glob("*.png")} >= {"map.png", "worst_queries.png"}
    # A finished run that no tracker knows is sent as a whole.
    shutil.rmtree(tmp_path / "r/tensorboard")
    (tmp_path / "r/trackers.json").unlink()
    assert run("train", "--resume", tmp_path / "r", "--log", "tensorboard") == 0
    assert "kept/test_MAP@R" in read(tmp_path / "r").Tags()["scalars"]


def test_an_unknown_tracker_and_a_missing_library_are_one_sentence(tmp_path, data_path, monkeypatch, capsys):
    assert run("train", "circle", "--log", "neptune") == 2
    monkeypatch.setattr("pairlens.experiments.trackers.is_installed", lambda package: False)
    words = ["--data_path", data_path, "--runs", tmp_path / "runs", *QUICK]
    assert run("train", "circle", *words, "--log", "wandb") == 2
    assert "pip install wandb" in capsys.readouterr().err
    study = ["--losses", "circle", "triplet", "--out", tmp_path / "study", "--data_path", data_path, *QUICK]
    assert run("compare", *study, "--log", "mlflow") == 2
    assert "pip install mlflow-skinny" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "study").exists()


def test_a_comparison_goes_on_with_a_tracker(compared, tmp_path, capsys):
    folder = tmp_path / "compared"
    shutil.copytree(compared, folder)
    unfinished = RunFolder(folder / "runs/bars/circle-10/seed1")
    # As after an interruption between the checkpoint and the outcome of the last epoch.
    unfinished.outcome.unlink()
    assert run("compare", "--resume", folder, "--log", "tensorboard") == 0
    assert "1 runs to make" in capsys.readouterr().out
    assert unfinished.experiment().run.log == ("tensorboard",)
    assert TrackedRuns.read(unfinished.path).of("tensorboard").ended
    events = read(unfinished.path)
    assert [event.step for event in events.Scalars("test_recall@1")] == [1]
    assert set(events.Tags()["images"]) == {"curves", "map", "worst_queries"}
    drawn = unfinished.path / "inspection/worst_queries.png"
    assert events.Images("worst_queries")[-1].encoded_image_string == drawn.read_bytes()
    # A run that was finished before is not opened again.
    assert not (folder / "runs/bars/circle-10/seed0/tensorboard").exists()
    stored = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert stored["fields"][0]["settings"]["run"]["log"] == ["tensorboard"]
