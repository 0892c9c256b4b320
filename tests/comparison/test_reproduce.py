"""What the report tells a person to type is read back as the same."""

import shlex
from pathlib import Path
from typing import get_args

import pytest
import tyro

from pairlens.cli import train as training
from pairlens.cli.arguments import CONFIG
from pairlens.cli.options import as_experiment
from pairlens.cli.whole_numbers import ranks_registry
from pairlens.comparison.reproduce import study_text, train_command
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_toml
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import RECIPES
from pairlens.losses import Circle, Loss, MultiSimilarity, RecallAtK
from pairlens.losses.miners import SemiHard
from pairlens.losses.third_party import wrap
from support.experiments import changed


def parsed(text):
    """What the command line makes of a command, without running it."""
    found = {}
    program, action, *options = shlex.split(text)
    assert (program, action) == ("pairlens", "train")
    # A sum of losses is one word, which the command reads before its options.
    command, words = training.find_train_command(options)

    def train(settings, name: str | None = None, runs: Path = Path("runs")) -> None:
        found.update(settings=as_experiment(settings), name=name, runs=runs)

    train.__annotations__["settings"] = command.__annotations__["settings"]
    tyro.cli(train, args=words, config=CONFIG, registry=ranks_registry(), use_underscores=True)
    return found


ODD = changed(
    Experiment(Circle(0.25, 64)),
    data_path=Path("my photos"),
    data_name="tiny set",
    recalls=(1, 10),
    miner=SemiHard(0.1),
    learn_power=True,
    log_analysis=False,
    learning_rate=1e-5,
    references="memory",
    select="test",
)


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        ODD,
        Experiment(MultiSimilarity(mining=False)),
        Experiment(RecallAtK(k=(1, 2), count_query=True)),
        *(recipe.experiment for recipe in RECIPES),
    ],
    ids=lambda e: e.default_name[:40],
)
def test_the_command_of_a_run_is_that_run(experiment):
    found = parsed(train_command(experiment, Path("some runs/mine")))
    assert found == {"settings": experiment, "name": "mine-again", "runs": Path("some runs")}


def test_every_loss_has_a_command():
    for kind in get_args(Loss):
        experiment = Experiment(kind())
        assert parsed(train_command(experiment, Path("r/x")))["settings"] == experiment


def test_a_wrapped_loss_has_no_command():
    assert train_command(Experiment(wrap(lambda e, y: e.sum())), Path("r/x")) is None


def test_a_study_is_read_back_from_its_text(tmp_path):
    arms = (Arm("triplet", "triplet"), Arm("mine", "circle:gamma=64.0"))
    settings = changed(ODD, loss=Experiment().loss, data_name="omniglot")
    other = changed(settings, auxiliary=0.0, data_name="birds", miner=None, batch_size=64)
    study = Study(
        arms, (Benchmark("one", settings, 3), Benchmark('t"wo', other, 2, "one", 4)), 6, 3, "R@1", keep="first_seed"
    )
    file = tmp_path / "study.toml"
    file.write_text(study_text(study), encoding="utf-8")
    assert read_toml(file) == study


def test_a_study_of_defaults_is_read_back(tmp_path):
    study = Study((Arm.of("triplet"), Arm.of("circle")), (Benchmark("car", Experiment(), 1),))
    (tmp_path / "s.toml").write_text(study_text(study), encoding="utf-8")
    assert read_toml(tmp_path / "s.toml") == study
