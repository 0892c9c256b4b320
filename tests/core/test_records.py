import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle, SoftTriple
from support.experiments import changed


@pytest.mark.parametrize("loss", [Circle(gamma=10), SoftTriple(centers=2)])
def test_an_experiment_survives_json(loss):
    experiment = changed(Experiment(), loss=loss, data_path=Path("photos/x"), recalls=(1, 10))
    assert from_plain(Experiment, json.loads(json.dumps(to_plain(experiment)))) == experiment


@dataclass(frozen=True)
class Sized:
    size: "int"


@dataclass(frozen=True)
class Named(Sized):
    name: "str" = ""


def test_types_that_are_texts_and_inherited_fields_are_understood():
    assert from_plain(Named, {"size": 3, "name": "x"}) == Named(3, "x")
    with pytest.raises(ValueError, match="size holds 'wide', but must be of type int"):
        from_plain(Named, {"size": "wide"})


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
        from_plain(Experiment, {**plain, "data": {"crop": "round"}})


def test_a_record_of_an_earlier_form_is_upgraded_and_one_of_a_later_form_refused():
    flat = {"type": "Experiment", "feature_dim": 64, "data_name": "cub", "optimizer": "sgd", "references": "memory"}
    experiment = from_plain(Experiment, flat)
    assert (experiment.model.dim, experiment.data.name, experiment.optimizer.name) == (64, "cub", "sgd")
    assert experiment.references.source == "memory"
    for version in (3, 0, "2", True, None):
        with pytest.raises(ValueError, match=r"has version .*, but this Pairlens reads 1 to 2"):
            from_plain(Experiment, {"type": "Experiment", "version": version})
    with pytest.raises(ValueError, match="unknown key 'colour'"):
        from_plain(Experiment, {"colour": 1})
    with pytest.raises(ValueError, match="unknown key 'data_name'"):
        from_plain(Experiment, {"version": 2, "data_name": "cub"})


def test_a_value_that_records_cannot_hold_has_no_plain_form():
    with pytest.raises(ValueError, match="no plain form"):
        to_plain({1, 2})
