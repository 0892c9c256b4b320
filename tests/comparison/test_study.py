from pathlib import Path

import pytest

from pairlens.cli.compare import benchmark_grid
from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of
from pairlens.comparison.study_file import read_study, read_toml, write_study
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle, RecallAtK, Triplet
from pairlens.losses.loss_text import loss_from_text, loss_text, trainable_from_text
from pairlens.losses.third_party import Wrapped
from support.experiments import changed

TWO = (Arm.of("triplet"), Arm.of("circle:gamma=64 as mine"))

TOML = """
losses = ["triplet", "circle:gamma=64 as mine"]
seeds = 4
tune = 6
folds = 3
metric = "R@2"

[settings]
image_size = 32
recalls = [1, 2]
miner = "semi_hard:margin=0.2"

[[fields]]
data_name = "bars"

[[fields]]
name = "with the auxiliary loss"
data_name = "bars"
auxiliary = 0.5
seeds = 2
tuned_in = "bars"
"""


def test_a_toml_file_sets_everything(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(TOML, encoding="utf-8")
    study = read_toml(file)
    assert [arm.name for arm in study.arms] == ["triplet", "mine"]
    assert (study.tune, study.folds, study.metric) == (6, 3, "R@2")
    first, second = study.fields
    assert (first.name, first.seeds, second.seeds, second.tuned_in) == ("bars", 4, 2, "bars")
    assert first.settings.model.image_size == second.settings.model.image_size == 32
    assert first.settings.miner.margin == 0.2
    assert (first.settings.objective.auxiliary, second.settings.objective.auxiliary) == (1.0, 0.5)
    write_study(study, tmp_path)
    assert read_study(tmp_path) == study


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tune = 6", "tunes = 6", "unknown key 'tunes'"),
        ("image_size = 32", "image = 32", "unknown setting 'image'"),
        ("image_size = 32", 'image_size = "big"', "image_size holds 'big'"),
        ("image_size = 32", "seed = 3", "unknown setting 'seed'"),
        ('metric = "R@2"', 'metric = "R@3"', "--metric R@3 is not measured; available are R@1, R@2"),
        ('tuned_in = "bars"', 'tuned_in = "birds"', "tuned in 'birds'"),
        ('"circle:gamma=64 as mine"', '"triplet"', "two losses are called triplet"),
        ('name = "with the auxiliary loss"', "", "two benchmarks are called bars"),
        ("seeds = 2", "seeds = 0", "0 seeds"),
        ("[settings]", "[settings", "cannot be read as TOML"),
        ('["triplet", "circle:gamma=64 as mine"]', '["triplet"]', "two losses or more"),
        ('["triplet", "circle:gamma=64 as mine"]', '"triplet"', "must be a list"),
        ("folds = 3", "folds = 1", "at least 2 to tune"),
    ],
)
def test_a_mistake_in_a_toml_file_is_named(tmp_path, old, new, message):
    file = tmp_path / "study.toml"
    assert old in TOML
    file.write_text(TOML.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_toml(file)


def test_a_grid_has_a_benchmark_for_every_data_set_and_every_auxiliary_weight():
    fields = benchmark_grid(Experiment(), ("car", "cub"), (0.0, 1.0), 5)
    assert [(f.name, f.settings.data.name, f.settings.objective.auxiliary) for f in fields] == [
        ("car, loss alone", "car", 0.0),
        ("car, auxiliary 1", "car", 1.0),
        ("cub, loss alone", "cub", 0.0),
        ("cub, auxiliary 1", "cub", 1.0),
    ]
    assert [f.name for f in benchmark_grid(Experiment(), ("car",), (1.0,), 5)] == ["car"]


def test_a_run_has_the_settings_of_its_benchmark_but_for_loss_and_seed():
    field = Benchmark("car", changed(Experiment(), descriptors="SM", dim=64))
    assert experiment_of(TWO[1], field, 3) == changed(field.settings, loss=Circle(gamma=64), seed=3)


def test_a_third_party_loss_is_wrapped_under_its_name():
    arm = Arm.of("pairlens.analysis.circle_variants:circle_of_distances(gamma=20) as first circle")
    loss = arm.make()
    assert isinstance(loss, Wrapped)
    assert loss.name == "first circle"
    assert loss.function.keywords == {"gamma": 20}


def test_losses_are_written_in_the_form_in_which_they_are_read():
    for loss in (Triplet(), Circle(gamma=64), RecallAtK(k=(1, 2))):
        assert loss_from_text(loss_text(loss)) == loss
    assert trainable_from_text("circle") == Circle()


def test_names_that_would_share_a_folder_are_refused():
    with pytest.raises(ValueError, match="give them different names"):
        Study((Arm("a b", "triplet"), Arm("A-b", "circle")), (Benchmark("car", Experiment()),))


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not the folder of a comparison"):
        read_study(Path(tmp_path))


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "benches").glob("*study*.toml")), ids=lambda f: f.stem
)
def test_the_losses_of_a_study_of_the_benches_can_be_made(file):
    trusted = {"pairlens.analysis.circle_variants", "pairlens.comparison.controls"}
    study = read_toml(file, trusted)
    assert all(experiment_of(arm, benchmark, 0) for arm in study.arms for benchmark in study.fields)
