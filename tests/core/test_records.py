import json
from dataclasses import replace
from pathlib import Path

import pytest

from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle, SoftTriple


@pytest.mark.parametrize("loss", [Circle(gamma=10), SoftTriple(centers=2)])
def test_an_experiment_survives_json(loss):
    experiment = replace(Experiment(), loss=loss, data_path=Path("photos/x"), recalls=(1, 10))
    assert from_plain(Experiment, json.loads(json.dumps(to_plain(experiment)))) == experiment


def test_unknown_key_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="unknown key 'gama'"):
        from_plain(Circle, {"gama": 80})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"margin": "wide"}, "margin holds 'wide', but must be a number"),
        ({"type": "Triplet"}, "record type 'Circle'"),
        ({"margin": True}, "must be a number"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_it_must_be(data, message):
    with pytest.raises(ValueError, match=message):
        from_plain(Circle, data)


def test_an_unknown_loss_and_a_wrong_choice_are_errors():
    plain = to_plain(Experiment())
    with pytest.raises(ValueError, match="one of the types"):
        from_plain(Experiment, {**plain, "loss": {"type": "Quartet"}})
    with pytest.raises(ValueError, match="one of 'uncropped', 'cropped'"):
        from_plain(Experiment, {**plain, "crop_type": "round"})


def test_a_value_that_records_cannot_hold_has_no_plain_form():
    with pytest.raises(ValueError, match="no plain form"):
        to_plain({1, 2})
