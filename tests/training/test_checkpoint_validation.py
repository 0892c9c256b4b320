import json
from copy import deepcopy

import pytest
import torch

from pairlens.experiments.run import resume, run
from pairlens.experiments.run_folder import RunFolder
from pairlens.training import checkpoint
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint
from pairlens.training.fit import fit
from pairlens.training.learner import Objective
from support.experiments import changed
from support.training_setup import Photos, learner


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    made = learner()
    list(fit(made, Photos(), Objective(freeze_bn="none"), 1))
    save_checkpoint(made, folder)
    return checkpoint._read(folder / checkpoint.CHECKPOINT_FILE)[0]


def load_written(state, folder):
    """Write a manipulated state with a correct checksum, and load it."""
    tensors = {}
    tree = json.dumps(checkpoint._flatten(state, "", tensors))
    names = {"version": checkpoint.VERSION, "tree": tree, "record": "null"}
    checkpoint.write_tensors(
        folder / checkpoint.CHECKPOINT_FILE, tensors, {**names, "sum": checkpoint._checksum(names, tensors)}
    )
    return load_checkpoint(learner(), folder)


def first_moments(state):
    return state["optimizer"]["state"][0]


MANIPULATIONS = {
    "short moments": lambda s: first_moments(s).update(exp_avg=torch.ones(1)),
    "one short moment": lambda s: s["optimizer"]["state"][1].update(exp_avg_sq=torch.ones(3)),
    "moments of whole numbers": lambda s: first_moments(s).update(exp_avg=first_moments(s)["exp_avg"].long()),
    "absent moments": lambda s: first_moments(s).pop("exp_avg"),
    "a number for moments": lambda s: first_moments(s).update(exp_avg=1.0),
    "many steps": lambda s: first_moments(s).update(step=torch.ones(5)),
    "a parameter too many": lambda s: s["optimizer"]["state"].update({999: first_moments(s)}),
    "texts for betas": lambda s: s["optimizer"]["param_groups"][0].update(betas=["a", "b"]),
    "one beta": lambda s: s["optimizer"]["param_groups"][0].update(betas=[0.9]),
    "no random states": lambda s: s.update(chance=None),
    "no generators": lambda s: s.update(chance={}),
    "a text for a generator": lambda s: s["chance"].update(torch="x"),
    "a short generator": lambda s: s["chance"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "numbers for a generator": lambda s: s["chance"].update(python=[3, 1, 2]),
    "short keys": lambda s: s["chance"].update(numpy=["MT19937", torch.zeros(3, dtype=torch.int64), 0, 0, 0.0]),
}


def test_a_saved_state_is_accepted(saved, tmp_path):
    assert load_written(deepcopy(saved), tmp_path) is None


@pytest.mark.parametrize("manipulation", MANIPULATIONS)
def test_a_state_that_does_not_match_the_learner_gives_an_error(saved, tmp_path, manipulation):
    state = deepcopy(saved)
    MANIPULATIONS[manipulation](state)
    with pytest.raises(ValueError, match="is damaged or of another experiment"):
        load_written(state, tmp_path)


@pytest.mark.parametrize(
    "record", [None, [], {}, {"rows": [1]}, *({"catalog": "x", "rows": r} for r in (None, [], {}))]
)
def test_a_checkpoint_without_rows_gives_an_error(tiny, tmp_path, monkeypatch, record):
    folder = run(changed(tiny, num_epochs=0), tmp_path / "r").folder
    monkeypatch.setattr("pairlens.experiments.recorder.load_checkpoint", lambda *_: record)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged .*no rows"):
        list(resume(RunFolder(folder)))
