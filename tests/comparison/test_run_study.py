import json
import os
from dataclasses import replace
from functools import partial

import pytest
import torch

from pairlens.comparison import tuning
from pairlens.comparison.compare import compare
from pairlens.comparison.executors import local_engine
from pairlens.comparison.run_study import run_study
from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_plan import FAILED_FILE, Plan, is_done
from pairlens.comparison.tuning import read_trials
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run import train
from pairlens.experiments.splits import open_catalog, split_catalog
from pairlens.training.checkpoint import has_checkpoint
from support.experiments import changed

ARMS = (Arm("triplet", "triplet"), Arm("circle", "circle:gamma=10"))


@pytest.fixture
def quick(tiny):
    return changed(tiny, num_epochs=1, batch_size=6, backbone="test_resnet")


def diverging(embeddings, labels):
    return embeddings.sum() * torch.nan


def impossible(embeddings, labels):
    raise RuntimeError("no such thing")


def test_every_loss_has_the_same_first_weights_batches_and_crops_for_a_seed(quick):
    first, second = (experiment_of(arm, Benchmark("bars", quick), 1) for arm in ARMS)
    catalog = split_catalog(open_catalog(quick), quick).train
    states = [make_learner(e, catalog.classes).model.state_dict() for e in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    batches = [list(training_batches(e, catalog).epoch(1)) for e in (first, second)]
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a.photos, b.photos)
        assert torch.equal(a.indices, b.indices)


def test_an_interrupted_comparison_is_resumed_and_runs_nothing_twice(quick, tmp_path):
    study = Study(ARMS, (Benchmark("bars", quick, 2),))
    stopped = run_study(study, tmp_path)
    first = next(stopped)
    stopped.close()
    plan = Plan(study, tmp_path)
    outcome = plan.run_folder(study.fields[0], ARMS[0], 0).outcome
    written = outcome.stat().st_mtime_ns
    rest = list(run_study(study, tmp_path))
    assert "triplet, seed 0" in first.what
    assert len(rest) == 3
    assert outcome.stat().st_mtime_ns == written
    assert list(run_study(study, tmp_path)) == []


def test_a_run_keeps_its_checkpoint_until_it_is_finished(quick, tmp_path):
    study = Study(ARMS, (Benchmark("bars", changed(quick, num_epochs=2), 1),))
    plan = Plan(study, tmp_path)
    first, second = (plan.run_folder(*run) for run in plan.runs(study.fields[0]))
    # Stopped after the first epoch of its second run.
    next(run_study(study, tmp_path))
    second.path.mkdir(parents=True)
    events = train(plan.experiment(study.fields[0], ARMS[1], 0), second)
    next(event for event in events if isinstance(event, EpochRow) and event.epoch)
    events.close()
    assert not has_checkpoint(first.path)
    assert has_checkpoint(second.path)
    list(run_study(study, tmp_path))
    assert not has_checkpoint(second.path)
    assert all((run_folder.path / "model.safetensors").is_file() for run_folder in (first, second))


def test_more_losses_and_seeds_can_be_added_to_finished_runs(compared, tiny):
    study = read_study(compared)
    more = replace(study, arms=(*study.arms, Arm("contrastive", "contrastive")), fields=study.fields)
    done = [Plan(more, compared).run_folder(f, a, s) for f, a, s in Plan(more, compared).runs(more.fields[0])]
    assert sum(map(is_done, done)) == 6
    assert len(done) == 9


def test_a_stored_run_with_other_settings_is_refused(quick, tmp_path):
    list(run_study(Study(ARMS, (Benchmark("bars", quick, 1),)), tmp_path))
    with pytest.raises(ValueError, match=r"was trained with learning_rate 0\.001, not 0\.1"):
        list(run_study(Study(ARMS, (Benchmark("bars", changed(quick, learning_rate=0.1), 1),)), tmp_path))


def test_a_run_without_its_settings_starts_again(quick, tmp_path):
    study = Study(ARMS, (Benchmark("bars", quick, 1),))
    run_folder = Plan(study, tmp_path).run_folder(study.fields[0], ARMS[0], 0)
    run_folder.path.mkdir(parents=True)
    (run_folder.path / "config.json.part").write_text("{", encoding="utf-8")
    assert len(list(run_study(study, tmp_path))) == 2
    assert is_done(run_folder)


def test_a_loss_that_diverges_is_not_counted_and_not_run_again(quick, tmp_path):
    arms = (ARMS[0], Arm("diverging", f"{__name__}:diverging"))
    study = Study(arms, (Benchmark("bars", quick, 1),))
    good, bad = run_study(study, tmp_path)
    assert good.value is not None
    assert bad.value is None
    assert "became nan" in bad.failure
    assert (Plan(study, tmp_path).run_folder(study.fields[0], arms[1], 0).path / FAILED_FILE).is_file()
    assert list(run_study(study, tmp_path)) == []


def test_a_loss_that_raises_is_named(quick, tmp_path):
    study = Study((ARMS[0], Arm("mine", f"{__name__}:impossible")), (Benchmark("bars", quick, 1),))
    with pytest.raises(ValueError, match="bars: mine, seed 0: the loss raised RuntimeError: no such thing"):
        list(run_study(study, tmp_path))


def test_an_impossible_study_is_refused_before_anything_runs(quick, tmp_path):
    for study, message in (
        (Study((ARMS[0], Arm("x", "nonsense")), (Benchmark("bars", quick, 1),)), "no loss nonsense"),
        (Study(ARMS, (Benchmark("bars", changed(quick, data_name="nowhere"), 1),)), "does not exist"),
        (
            Study((ARMS[0], Arm("p", "proxy_anchor")), (Benchmark("bars", changed(quick, references="memory"), 1),)),
            "cannot be used with proxy_anchor",
        ),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            next(run_study(study, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_runs_have_the_tuned_settings_also_on_a_benchmark_that_is_tuned_in_another(quick, tmp_path, monkeypatch):
    alone = Benchmark("alone", changed(quick, auxiliary=0.0), 1)
    beside = Benchmark("beside", quick, 1, tuned_in="alone")
    study = Study(ARMS, (alone, beside), tune=2, folds=2)
    done = list(run_study(study, tmp_path))
    assert [d.what.startswith("alone: tuned") for d in done] == [True, True, False, False, False, False]
    plan = Plan(study, tmp_path)
    for arm in ARMS:
        best = max(read_trials(plan.tuning_folder(alone, arm)), key=lambda t: t.value)
        for benchmark in (alone, beside):
            experiment = plan.run_folder(benchmark, arm, 0).experiment()
            assert experiment.optimizer.learning_rate == best.params["learning_rate"]
            assert experiment.loss.margin == best.params["margin"]
            assert experiment.objective.auxiliary == benchmark.settings.objective.auxiliary
    assert not (tmp_path / "tuning" / "beside").exists()
    monkeypatch.setattr(tuning, "train_without_files", partial(pytest.fail, "tuned again"))
    assert list(run_study(study, tmp_path)) == []


def test_two_processes_give_the_results_of_one(compared, tmp_path):
    study = read_study(compared)
    study = replace(study, fields=tuple(replace(f, seeds=1) for f in study.fields))
    list(run_study(study, tmp_path, local_engine(2)))
    for arm in study.arms:
        here, there = (Plan(study, f).run_folder(study.fields[0], arm, 0) for f in (tmp_path, compared))
        assert here.experiment() == there.experiment()
        found, known = (json.loads(p.outcome.read_text(encoding="utf-8"))["rows"][1]["report"] for p in (here, there))
        assert found["metrics"][0]["value"] == pytest.approx(known["metrics"][0]["value"], abs=0.1)


def test_proxies_that_overflow_are_not_counted_and_the_other_losses_go_on(quick, tmp_path):
    arms = (Arm("proxies", "proxyanchor"), Arm("centres", "softtriple"), ARMS[0])
    experiment = changed(quick, num_epochs=2, proxy_learning_rate=1e30)
    first, second, good = run_study(Study(arms, (Benchmark("bars", experiment, 1),)), tmp_path)
    for bad in (first, second):
        assert bad.value is None
        assert "is not finite" in bad.failure
        assert "lower the learning rate of the proxies, in epoch 1" in bad.failure
    assert good.value is not None


def test_a_second_comparison_in_the_same_folder_is_refused_and_deletes_nothing(quick, tmp_path):
    study = Study(ARMS, (Benchmark("bars", quick, 1),))
    first = run_study(study, tmp_path)
    next(first)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    for second in (lambda: list(run_study(study, tmp_path)), lambda: compare(study, tmp_path)):
        with pytest.raises(ValueError, match=f"is being written to by process {os.getpid()}; wait until it is done"):
            second()
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == files
    assert len(list(first)) == 1
    assert list(run_study(study, tmp_path)) == []


def test_a_run_that_another_process_starts_is_not_deleted(quick, tmp_path):
    study = Study(ARMS, (Benchmark("bars", quick, 1),))
    run_folder = Plan(study, tmp_path).run_folder(study.fields[0], ARMS[0], 0)
    run_folder.path.mkdir(parents=True)
    # The other process has locked the folder, and has not written its settings yet.
    with run_folder.lock():
        (run_folder.path / "baseline.safetensors").write_bytes(b"of the other process")
        with pytest.raises(ValueError, match="is being written to by process"):
            list(run_study(study, tmp_path))
        assert (run_folder.path / "baseline.safetensors").read_bytes() == b"of the other process"


def test_what_a_killed_process_left_is_deleted_with_its_folders_but_not_through_links(quick, tmp_path):
    other = tmp_path / "of the user"
    other.mkdir()
    (other / "photo.jpg").write_bytes(b"photo")
    study = Study(ARMS, (Benchmark("bars", quick, 1),))
    run_folder = Plan(study, tmp_path / "study").run_folder(study.fields[0], ARMS[0], 0)
    (run_folder.path / "inspection").mkdir(parents=True)
    (run_folder.path / "link").symlink_to(other)
    run_folder.clear()
    assert {file.name for file in run_folder.path.iterdir()} <= {".lock"}
    assert (other / "photo.jpg").read_bytes() == b"photo"
