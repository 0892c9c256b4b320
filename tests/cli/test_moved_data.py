"""A data set that has moved is given as --data_path; its digest says whether it is the same."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from conftest import write_bars
from pairlens.experiments.run import train
from pairlens.experiments.run_folder import RunFolder
from pairlens.training.fit import Step
from support.commands import run
from support.experiments import changed


@pytest.fixture
def stopped(tiny, data_path, tmp_path):
    """A run that was interrupted within its last epoch, whose data set has since moved."""
    shutil.copytree(data_path / "bars", tmp_path / "old" / "bars")
    settings = changed(tiny, data_path=tmp_path / "old", checkpoint_minutes=1e-9, backbone="test_resnet")
    whole, run_folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "r")
    list(train(settings, whole))
    events = train(settings, run_folder)
    steps = 3
    while steps:
        steps -= isinstance(next(events), Step)
    events.close()
    (tmp_path / "old").rename(tmp_path / "new")
    return whole, run_folder


def test_a_run_resumes_where_its_data_has_moved_to_and_ends_the_same(stopped, tmp_path, capsys):
    whole, run_folder = stopped
    assert run("train", "--resume", run_folder.path) == 2
    assert "does not exist" in capsys.readouterr().err
    assert run("train", "--resume", run_folder.path, "--data_path", tmp_path / "new") == 0
    first, second = (load_file(folder.path / "model.safetensors") for folder in (whole, run_folder))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert run_folder.experiment().data.path == tmp_path / "new"
    # It is stored, so it need not be given again.
    assert run("train", "--resume", run_folder.path) == 0


def test_other_photos_at_the_new_place_are_refused_and_nothing_is_written(stopped, tmp_path, capsys):
    _, run_folder = stopped
    write_bars(tmp_path / "other" / "bars" / "uncropped.arrow", shots=5)
    before = {file: file.read_bytes() for file in run_folder.path.iterdir() if file.name != ".lock"}
    for place in ("other", "nowhere"):
        assert run("train", "--resume", run_folder.path, "--data_path", tmp_path / place) == 2
    error = capsys.readouterr().err
    assert "was prepared again with other photos" in error
    assert "does not exist" in error
    assert {file: file.read_bytes() for file in run_folder.path.iterdir() if file.name != ".lock"} == before
