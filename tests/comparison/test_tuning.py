import json
from dataclasses import replace
from typing import get_args

import pytest
import torch

from pairlens.comparison import tuning
from pairlens.comparison.check_study import check
from pairlens.comparison.reproduce import study_text
from pairlens.comparison.study import Study
from pairlens.comparison.study_file import read_toml
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tuning import Trial, goes_on, read_trials, space_of, tunable_values, tune, with_params
from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import train_without_files
from pairlens.experiments.splits import fold_classes, open_catalog, split_catalog
from pairlens.losses import Circle, Loss, Margin, ProxyAnchor, Triplet
from pairlens.losses.loss_text import loss_name, loss_text, trainable_from_text
from pairlens.losses.tuning_space import Range
from pairlens.training.references import InBatch
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

    def spy(experiment):
        seen.append(experiment)
        return train_without_files(experiment)

    monkeypatch.setattr(tuning, "train_without_files", spy)
    best = tune(quick, tmp_path, 2, 2, "MAP@R")
    trials = read_trials(tmp_path)
    assert [t.number for t in trials] == [0, 1]
    assert trials[0].params == tunable_values(quick)
    assert trials[1].params != tunable_values(quick)
    assert [(e.evaluation.fold, e.evaluation.folds) for e in seen] == [(0, 2), (1, 2)] * 2
    assert all(t.value == pytest.approx(sum(t.folds) / 2) for t in trials)
    assert best.value == max(t.value for t in trials)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "trials.json"]


def fake_runs(monkeypatch, calls):
    def pretend(experiment):
        calls.append(experiment)
        return {"MAP@R": 1 - abs(experiment.loss.margin - 0.3) - experiment.evaluation.fold / 100}

    monkeypatch.setattr(tuning, "train_without_files", pretend)


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


def test_with_halving_the_better_half_goes_on(quick, tmp_path, monkeypatch):
    calls = []
    fake_runs(monkeypatch, calls)
    best = tune(quick, tmp_path / "halved", 16, 4, "MAP@R", halving=True)
    trials = read_trials(tmp_path / "halved")
    assert len(calls) == sum(len(trial.folds) for trial in trials)
    # Of 16 settings on 4 folds 64 runs; 16 + 8 + 4 + 2 if half of them went on, but later suggestions are better ones.
    assert 30 <= len(calls) <= 50
    assert len(trials[0].folds) == len(best.folds) == 4
    assert best.value == max(trial.value for trial in trials if len(trial.folds) == 4)
    for number, trial in enumerate(trials[1:], 1):
        earlier = trials[:number]
        assert all(goes_on(trial.folds[:count], earlier) for count in range(1, len(trial.folds)))
        assert len(trial.folds) == 4 or not goes_on(trial.folds, earlier)
    assert abs(best.params["margin"] - 0.3) < 0.1


def test_an_interruption_changes_no_trial_with_halving(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    tune(quick, tmp_path, 8, 3, "MAP@R", halving=True)
    whole = json.loads((tmp_path / "trials.json").read_text(encoding="utf-8"))
    (tmp_path / "trials.json").write_text(json.dumps({**whole, "trials": whole["trials"][:5]}), encoding="utf-8")
    tune(quick, tmp_path, 8, 3, "MAP@R", halving=True)
    assert json.loads((tmp_path / "trials.json").read_text(encoding="utf-8")) == whole


def test_trials_with_and_without_halving_do_not_mix(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    tune(quick, tmp_path / "halved", 2, 2, "MAP@R", halving=True)
    with pytest.raises(ValueError, match="in halving"):
        tune(quick, tmp_path / "halved", 2, 2, "MAP@R")
    tune(quick, tmp_path / "whole", 2, 2, "MAP@R")
    with pytest.raises(ValueError, match="in halving"):
        tune(quick, tmp_path / "whole", 2, 2, "MAP@R", halving=True)
    # Trials of earlier versions do not say that they were not halved.
    file = tmp_path / "whole" / "trials.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    del stored["halving"]
    file.write_text(json.dumps(stored), encoding="utf-8")
    assert tune(quick, tmp_path / "whole", 2, 2, "MAP@R").folds


@pytest.mark.parametrize(
    ("values", "earlier", "expected"),
    [
        ([0.1], [], True),
        ([0.1], [(0.2,)], False),
        ([0.2], [(0.2,)], False),
        ([0.3], [(0.2,)], True),
        ([0.2], [(0.3,), (0.1,)], True),
        ([0.2], [(0.3,), (0.4,), (0.1,)], False),
        ([0.2, 0.2], [(0.9,), (0.8,), (0.1, 0.2)], True),
    ],
)
def test_what_goes_on(values, earlier, expected):
    trials = [Trial(number, {}, folds, 0.0) for number, folds in enumerate(earlier)]
    assert goes_on(values, trials) == expected


def test_a_study_with_halving_is_stored_written_and_read(tmp_path):
    file = tmp_path / "study.toml"
    text = 'losses = ["circle", "triplet"]\ntune = 4\n'
    file.write_text(text, encoding="utf-8")
    # A study without it is stored as earlier versions store it.
    assert "halving" not in to_plain(read_toml(file))
    file.write_text(f"{text}halving = true\n", encoding="utf-8")
    study = read_toml(file)
    assert study.halving
    assert from_plain(Study, json.loads(json.dumps(to_plain(study)))) == study
    assert read_toml_text(study, tmp_path) == study


def test_tuning_finds_what_is_better_on_the_folds(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    assert abs(tune(quick, tmp_path, 15, 2, "MAP@R").params["margin"] - 0.3) < 0.1


def test_trials_of_another_task_are_refused(quick, tmp_path, monkeypatch):
    fake_runs(monkeypatch, [])
    tune(quick, tmp_path, 1, 2, "MAP@R")
    tune(changed(quick, workers=1), tmp_path, 1, 2, "MAP@R")
    with pytest.raises(ValueError, match="in experiment"):
        tune(changed(quick, num_epochs=7), tmp_path, 1, 2, "MAP@R")
    with pytest.raises(ValueError, match="in folds"):
        tune(quick, tmp_path, 1, 4, "MAP@R")
    (tmp_path / "trials.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        read_trials(tmp_path)


def test_settings_that_diverge_count_as_worst(quick, tmp_path, monkeypatch):
    def diverge(experiment):
        raise FloatingPointError("the loss became nan")

    monkeypatch.setattr(tuning, "train_without_files", diverge)
    assert tune(quick, tmp_path, 1, 2, "MAP@R").folds == (0.0, 0.0)


FOREIGN = "support.foreign_losses"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"{FOREIGN}:Hinge", {"margin": 0.5}),
        (f"{FOREIGN}:Hinge(margin=0.25)", {"margin": 0.25}),
        (f"{FOREIGN}:Module(scale=2.0)", {"scale": 2.0}),
        (
            "circle+0.5*triplet",
            {"circle.margin": 0.4, "circle.gamma": 80, "triplet.margin": 0.1, "triplet.weight": 0.5},
        ),
    ],
)
def test_losses_of_other_projects_and_sums_bring_their_ranges(text, values):
    experiment = Experiment(loss=trainable_from_text(text, "mine"))
    assert tunable_values(experiment) == values | {"learning_rate": 1e-4}
    assert set(space_of(experiment)) == {*values, "learning_rate"}
    same = with_params(experiment, tunable_values(experiment))
    assert loss_text(same.loss) == loss_text(trainable_from_text(loss_text(same.loss)))
    last = list(values)[-1]
    changed = with_params(experiment, {last: 0.7})
    assert tunable_values(changed) == values | {last: 0.7, "learning_rate": 1e-4}
    assert loss_name(changed.loss) == loss_name(experiment.loss) or "0.7" in loss_name(changed.loss)


def test_a_study_gives_the_ranges_of_a_function_of_another_project(tmp_path):
    text = f"{FOREIGN}:mean_negative"
    file = tmp_path / "study.toml"
    file.write_text(
        f'losses = ["{text} as mine", "circle:gamma=64"]\n'
        f'[spaces."{text}"]\npower = {{low = 1, high = 5}}\n'
        "[spaces.circle]\ngamma = {low = 8, high = 64, log = true}\n",
        encoding="utf-8",
    )
    study = read_toml(file, {FOREIGN})
    mine, circle = study.arms
    assert study.space(mine) == {"power": Range(1.0, 5.0)}
    assert study.space(circle) == {"gamma": Range(8.0, 64.0, log=True)}
    assert from_plain(Study, json.loads(json.dumps(to_plain(study)))) == study
    assert read_toml_text(study, tmp_path) == study
    experiment = Experiment(loss=mine.make())
    assert tunable_values(experiment, study.space(mine)) == {"power": 1, "learning_rate": 1e-4}
    changed = with_params(experiment, {"power": 3.0}, study.space(mine))
    similarity, pairs = InBatch()(torch.nn.functional.normalize(torch.randn(6, 4), dim=1), torch.arange(6) % 2)
    expected = similarity[pairs.negative].pow(3).mean() - similarity[pairs.positive].mean()
    assert torch.equal(changed.loss(similarity, pairs), expected)


def read_toml_text(study, folder):
    """Read a study back from the TOML that a report shows."""
    file = folder / "again.toml"
    file.write_text(study_text(study), encoding="utf-8")
    return read_toml(file)


@pytest.mark.parametrize(
    ("spaces", "sentence"),
    [
        ("[spaces.triplett]\nmargin = {low = 1, high = 2}", "belong to no loss of the study"),
        ("[spaces.circle]\nmargin = {low = 2, high = 1}", "from 2.0 to 1.0 is empty"),
        ("[spaces.circle]\nmargin = {low = 0, high = 1, log = true}", "must start above 0"),
        ("[spaces.circle]\nmargin = {low = 0, top = 1}", "unknown key 'top'"),
        ("[spaces.circle]\nmargn = {low = 0, high = 1}", "margn is no setting of Circle"),
    ],
)
def test_wrong_ranges_of_a_study_are_refused(tmp_path, spaces, sentence):
    file = tmp_path / "study.toml"
    file.write_text(f'losses = ["circle", "triplet"]\ntune = 2\n{spaces}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        check(Plan(read_toml(file), tmp_path))


def test_a_tuned_function_of_another_project_is_stored_with_its_settings(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "train_without_files", lambda experiment: pytest.fail("no trial is missing"))
    text = f"{FOREIGN}:mean_negative(power=2)"
    stored = changed(quick, loss=trainable_from_text(text, "mine"))
    assert not tuning.differing_settings(from_plain(Experiment, to_plain(stored)), stored)
    other = changed(quick, loss=trainable_from_text(f"{FOREIGN}:mean_negative(power=3)", "mine"))
    assert list(tuning.differing_settings(from_plain(Experiment, to_plain(stored)), other)) == ["loss"]
    # Version 0.1 stored only the name.
    old = changed(quick, loss=replace(stored.loss, source=""))
    assert not tuning.differing_settings(from_plain(Experiment, to_plain(old)), other)
