import json
from typing import get_args

import pytest

from pairlens.comparison import tuning
from pairlens.comparison.tuning import read_trials, space_of, tunable_values, tune, with_params
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.experiments.splits import fold_classes, open_catalog, split_catalog
from pairlens.losses import Circle, Loss, Margin, ProxyAnchor, Triplet
from support.experiments import changed


@pytest.fixture
def quick(tiny):
    return changed(tiny, loss=Triplet(), num_epochs=1, batch_size=6, backbone="test_resnet")


@pytest.mark.parametrize("kind", get_args(Loss), ids=lambda k: k.__name__)
def test_the_published_values_lie_inside_the_search_space(kind):
    experiment = Experiment(loss=kind())
    space = space_of(experiment)
    for name, value in tunable_values(experiment).items():
        assert space[name].low <= value <= space[name].high, name
        assert space[name].low > 0 or not space[name].log
    assert with_params(experiment, tunable_values(experiment)) == experiment


def test_tuning_covers_the_loss_and_the_learning_rates_that_it_uses():
    assert set(space_of(Experiment(loss=Circle()))) == {"margin", "gamma", "learning_rate"}
    assert "proxy_learning_rate" in space_of(Experiment(loss=ProxyAnchor()))
    assert "proxy_learning_rate" in space_of(Experiment(loss=Margin()))
    changed = with_params(Experiment(loss=Circle()), {"margin": 0.2, "learning_rate": 1e-3})
    assert (changed.loss, changed.optimizer.learning_rate) == (Circle(margin=0.2), 1e-3)


@pytest.mark.parametrize(("classes", "folds"), [(4, 2), (7, 3), (98, 4)])
def test_every_class_is_held_out_in_exactly_one_fold(classes, folds):
    dealt = [fold_classes(classes, folds, fold) for fold in range(folds)]
    assert sorted(c for fold in dealt for c in fold) == list(range(classes))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_a_fold_trains_on_the_other_training_classes_and_never_sees_a_test_photo(quick):
    catalog = open_catalog(quick)
    test = set(catalog.select("test").paths)
    for fold in range(2):
        parts = split_catalog(catalog, changed(quick, folds=2, fold=fold, seed=fold))
        trained, held_out = ({c.class_names[i] for i in c.labels.tolist()} for c in (parts.train, parts.test))
        assert not trained & held_out
        assert trained | held_out == {f"bar {i}" for i in range(4)}
        assert not test & {*parts.train.paths, *parts.test.paths}
        assert parts.gallery is None


def test_too_many_folds_are_refused(quick):
    with pytest.raises(ValueError, match="too few for 3 folds"):
        split_catalog(open_catalog(quick), changed(quick, folds=3))
    with pytest.raises(ValueError, match="--folds 1 leaves no classes"):
        changed(quick, folds=1)
    with pytest.raises(ValueError, match="--fold 2 is not one of --folds 2"):
        changed(quick, folds=2, fold=2)


def test_trials_are_measured_on_every_fold_and_saved(quick, tmp_path, monkeypatch):
    seen = []

    def spy(experiment, folder):
        seen.append(experiment)
        return run(experiment, folder)

    monkeypatch.setattr(tuning, "run", spy)
    best = tune(quick, tmp_path, 2, 2, "MAP@R")
    trials = read_trials(tmp_path)
    assert [t.number for t in trials] == [0, 1]
    assert trials[0].params == tunable_values(quick)
    assert trials[1].params != tunable_values(quick)
    assert [(e.evaluation.fold, e.evaluation.folds) for e in seen] == [(0, 2), (1, 2)] * 2
    assert all(t.value == pytest.approx(sum(t.folds) / 2) for t in trials)
    assert best.value == max(t.value for t in trials)
    assert [file.name for file in tmp_path.iterdir()] == ["trials.json"]


def fake_runs(monkeypatch, calls):
    class Found:
        def __init__(self, value):
            self.report = {"MAP@R": value}

    def pretend(experiment, folder):
        calls.append(experiment)
        return Found(1 - abs(experiment.loss.margin - 0.3) - experiment.evaluation.fold / 100)

    monkeypatch.setattr(tuning, "run", pretend)


def test_an_interruption_changes_no_trial(quick, tmp_path, monkeypatch):
    calls = []
    fake_runs(monkeypatch, calls)
    tune(quick, tmp_path / "whole", 6, 2, "MAP@R")
    tune(quick, tmp_path / "parts", 3, 2, "MAP@R")
    tune(quick, tmp_path / "parts", 6, 2, "MAP@R")
    first, second = (
        json.loads((tmp_path / name / "trials.json").read_text(encoding="utf-8")) for name in ("whole", "parts")
    )
    # Optuna draws its first settings by their number of all: only what follows them may differ.
    assert [t["params"] for t in first["trials"][:3]] == [t["params"] for t in second["trials"][:3]]
    assert len(calls) == 2 * 6 + 2 * 6
    tune(quick, tmp_path / "parts", 6, 2, "MAP@R")
    assert len(calls) == 2 * 6 + 2 * 6
    shortened = {**first, "trials": first["trials"][:4]}
    (tmp_path / "whole" / "trials.json").write_text(json.dumps(shortened), encoding="utf-8")
    tune(quick, tmp_path / "whole", 6, 2, "MAP@R")
    assert json.loads((tmp_path / "whole" / "trials.json").read_text(encoding="utf-8")) == first


def test_tuning_finds_what_is_better_on_the_folds(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    assert abs(tune(quick, tmp_path, 15, 2, "MAP@R").params["margin"] - 0.3) < 0.1


def test_trials_of_another_task_are_refused(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    tune(quick, tmp_path, 1, 2, "MAP@R")
    tune(changed(quick, workers=1), tmp_path, 1, 2, "MAP@R")
    with pytest.raises(ValueError, match="another experiment"):
        tune(changed(quick, num_epochs=7), tmp_path, 1, 2, "MAP@R")
    with pytest.raises(ValueError, match="another folds"):
        tune(quick, tmp_path, 1, 4, "MAP@R")
    (tmp_path / "trials.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        read_trials(tmp_path)


def test_settings_that_diverge_count_as_worst(quick, tmp_path, monkeypatch):
    def diverge(experiment, folder):
        raise FloatingPointError("the loss became nan")

    monkeypatch.setattr(tuning, "run", diverge)
    assert tune(quick, tmp_path, 1, 2, "MAP@R").folds == (0.0, 0.0)
