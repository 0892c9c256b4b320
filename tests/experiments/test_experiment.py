from dataclasses import replace

import pytest

from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle, SoftTriple


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gd_config": "SX"}, "gd_config 'SX'"),
        ({"smoothing": 1.0}, "--smoothing 1.0"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"recalls": ()}, "--recalls"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"num_epochs": -1}, "--num_epochs -1"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**setting)


def test_runs_that_differ_in_loss_or_seed_have_different_names():
    base = Experiment()
    made = [base, replace(base, loss=Circle()), replace(base, loss=Circle(gamma=10)), replace(base, loss=SoftTriple())]
    made += [replace(base, loss=Circle(), references="proxies"), replace(base, seed=1), replace(base, gd_config="SM")]
    assert len({e.default_name for e in made}) == len(made)


def test_softtriple_always_uses_proxies():
    assert replace(Experiment(), loss=SoftTriple()).uses_proxies
    assert not Experiment().uses_proxies
