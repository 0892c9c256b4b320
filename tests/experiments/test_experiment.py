from dataclasses import replace

import pytest

from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Angular, Circle, SoftTriple
from support.experiments import changed


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gd_config": "SX"}, "--descriptors 'SX'"),
        ({"optimizer": "nadamm"}, "--optimizer 'nadamm' is not one of adam, .*; did you mean nadam"),
        ({"augment": "anything"}, "--augment 'anything' is not one of standard"),
        ({"batch_size": 2.5}, "--batch_size 2.5 must be an integer"),
        ({"learning_rate": "fast"}, "--learning_rate 'fast' must be a number"),
        ({"learning_rate": float("nan")}, "--learning_rate nan"),
        ({"data_name": "../x"}, "not a plain folder name"),
        ({"per_class": 1}, "--per_class 1 leaves anchors without a positive"),
        ({"smoothing": 1.0}, "--smoothing 1.0"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"recalls": ()}, "--recalls"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"num_epochs": -1}, "--num_epochs -1"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(Experiment(), **setting)


def test_runs_that_differ_in_loss_or_seed_have_different_names():
    base = Experiment()
    made = [base, replace(base, loss=Circle()), replace(base, loss=Circle(gamma=10)), replace(base, loss=SoftTriple())]
    made += [changed(base, loss=Circle(), references="proxies"), changed(base, seed=1), changed(base, descriptors="SM")]
    assert len({e.default_name for e in made}) == len(made)


def test_auto_is_the_source_that_the_loss_was_designed_for():
    assert replace(Experiment(), loss=SoftTriple()).source == "proxies"
    assert Experiment().source == "batch"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"loss": SoftTriple(), "references": "batch"},
            "--references batch cannot be used with soft_triple.*use.*proxies",
        ),
        ({"loss": Angular(), "references": "memory"}, "--references memory cannot be used with angular"),
        ({"references": "memory", "memory_size": 64}, "--memory_size 64 does not hold a batch of 128"),
    ],
)
def test_references_that_the_loss_cannot_use_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        changed(Experiment(), **setting)


def test_paths_may_be_given_as_text(tmp_path):
    experiment = changed(Experiment(), data_path=str(tmp_path), weights=tmp_path / "weights.pth")
    assert experiment == changed(Experiment(), data_path=tmp_path, weights=str(tmp_path / "weights.pth"))
    assert from_plain(Experiment, to_plain(experiment)) == experiment
