"""The last good checkpoint is good: a run with absurd settings ends with a sentence, and its checkpoint can be used."""

import pytest
import torch
from safetensors.torch import load_file

from pairlens.experiments import run as running
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run import run
from pairlens.experiments.run_folder import RunFolder
from support.experiments import changed

ABSURD = [
    {"learning_rate": 1e39},
    {"learning_rate": 1e30},
    {"learning_rate": 1e10},
    {"weight_decay": 1e30},
    {"weight_decay": 1e30, "optimizer": "adamw"},
    {"learning_rate": 1e30, "optimizer": "sgd"},
    {"learning_rate": 1e39, "references": "memory", "memory_size": 60},
]


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
@pytest.mark.parametrize("settings", ABSURD, ids=str)
def test_absurd_settings_end_with_a_good_checkpoint(tiny, tmp_path, settings, on_nan):
    run_folder = RunFolder(tmp_path / "r")
    experiment = changed(tiny, backbone="test_resnet", checkpoint_minutes=1e-9, on_nan=on_nan, **settings)
    with pytest.raises(FloatingPointError, match=r"the last good checkpoint is .*checkpoint\.safetensors"):
        list(running.train(experiment, run_folder))
    for file in run_folder.path.glob("checkpoint*.safetensors"):
        for name, tensor in load_file(file).items():
            assert not tensor.is_floating_point() or torch.isfinite(tensor).all(), name
            assert not tensor.is_floating_point() or float(tensor.double().abs().max()) < 1e6, name
    assert len(run_folder.read_outcome().rows) == 1
    # It resumes, and diverges at the same step again, because the settings are the same.
    with pytest.raises(FloatingPointError, match="last good checkpoint"):
        list(running.resume(run_folder))


def test_a_damaged_checkpoint_is_resumed_from_the_one_before_and_the_run_ends_the_same(tiny, tmp_path):
    settings = changed(tiny, backbone="test_resnet")
    whole = run(settings, tmp_path / "whole")
    broken = RunFolder(run(settings, tmp_path / "broken").folder)
    (broken.path / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="resumed from"):
        assert [e.epoch for e in running.resume(broken) if isinstance(e, EpochRow)] == [2]
    first, second = (load_file(folder / "model.safetensors") for folder in (whole.folder, broken.path))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
