"""A study that is continued after something has changed: its losses, its settings, its data, its folder."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import write_bars
from pairlens.comparison import tuning
from pairlens.comparison.compare import compare
from pairlens.comparison.run_study import run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import write_study
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tuning import read_trials, tune
from pairlens.experiments import stored_post
from pairlens.experiments.post_processed import PostProcessing
from pairlens.losses.tuning_space import Range
from pairlens.training import fit
from support.experiments import changed

TRIPLET, CIRCLE = Arm("triplet", "triplet"), Arm("circle", "circle:gamma=10")


@pytest.fixture
def quick(tiny):
    return changed(tiny, num_epochs=1, batch_size=6)


@pytest.fixture
def without_training(monkeypatch):
    """Let each trial have the value of its margin, without a training."""
    monkeypatch.setattr(tuning, "train_without_files", lambda experiment: {"MAP@R": experiment.loss.margin})


def impossible(embeddings, labels):
    raise torch.OutOfMemoryError("out of memory")


class TestTunedStudies:
    def test_runs_of_other_settings_are_refused_though_a_new_loss_is_not_tuned_yet(
        self, quick, tmp_path, without_training
    ):
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", quick, 1),), tune=2, folds=2)
        list(run_study(study, tmp_path))
        longer = Benchmark("bars", changed(quick, num_epochs=2), 1)
        more = replace(study, arms=(*study.arms, Arm("contrastive", "contrastive")), fields=(longer,))
        with pytest.raises(ValueError, match=r"the trials in .* differ from this comparison in experiment"):
            list(run_study(more, tmp_path))
        assert not Plan(more, tmp_path).tuning_folder(longer, more.arms[2]).exists()

    def test_runs_are_refused_whose_settings_further_trials_would_change(self, quick, tmp_path, monkeypatch):
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", quick, 1),), tune=1, folds=2)
        list(run_study(study, tmp_path))
        # A setting that is better than the one that was given is found among the further trials.
        monkeypatch.setattr(tuning, "train_without_files", lambda _: {"MAP@R": 1.0})
        with pytest.raises(ValueError, match="was trained with"):
            list(run_study(replace(study, tune=2), tmp_path))

    def test_trials_of_other_ranges_are_refused(self, quick, tmp_path, without_training):
        narrow, wide = ({"margin": Range(0.1, high)} for high in (0.2, 0.4))
        tune(quick, tmp_path, 1, 2, "MAP@R", narrow)
        assert len(read_trials(tmp_path)) == 1
        with pytest.raises(ValueError, match="differ from this comparison in ranges"):
            tune(quick, tmp_path, 2, 2, "MAP@R", wide)
        stored = json.loads((tmp_path / "trials.json").read_text(encoding="utf-8"))
        del stored["ranges"], stored["paths"]
        (tmp_path / "trials.json").write_text(json.dumps(stored), encoding="utf-8")
        # Trials of earlier versions do not say with which ranges they were made.
        tune(quick, tmp_path, 2, 2, "MAP@R", wide)
        assert len(read_trials(tmp_path)) == 2

    def test_trials_go_on_from_another_folder_and_with_a_path_that_leads_up(
        self, quick, tmp_path, without_training, monkeypatch
    ):
        weights = tmp_path / "w.pth"
        (tmp_path / "project").mkdir()
        monkeypatch.chdir(tmp_path / "project")
        tune(changed(quick, weights="../w.pth"), Path("trials"), 1, 2, "MAP@R")
        tune(changed(quick, weights="../project/../w.pth"), Path("trials"), 1, 2, "MAP@R")
        monkeypatch.chdir(tmp_path)
        tune(changed(quick, weights="w.pth"), tmp_path / "project" / "trials", 1, 2, "MAP@R")
        tune(changed(quick, weights=str(weights)), tmp_path / "project" / "trials", 1, 2, "MAP@R")
        with pytest.raises(ValueError, match="in experiment"):
            tune(changed(quick, weights="other.pth"), tmp_path / "project" / "trials", 1, 2, "MAP@R")

    def test_too_little_memory_is_not_called_a_fault_of_the_loss(self, quick, tmp_path):
        arms = (TRIPLET, Arm("mine", f"{__name__}:impossible"))
        for trials in (0, 1):
            study = Study(arms, (Benchmark("bars", quick, 1),), tune=trials, folds=2)
            with pytest.raises(torch.OutOfMemoryError):
                list(run_study(study, tmp_path / str(trials)))


class TestData:
    def test_runs_on_photos_that_were_prepared_again_are_not_mixed(self, quick, tmp_path, data_path):
        shutil.copytree(data_path, tmp_path / "data")
        settings = changed(quick, data_path=tmp_path / "data")
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", settings, 1),))
        folder = tmp_path / "study"
        jobs = run_study(study, folder)
        next(jobs)
        jobs.close()
        write_bars(tmp_path / "data" / "bars" / "uncropped.arrow", shots=5)
        with pytest.raises(ValueError, match="the data set of bars was prepared again with other photos"):
            list(run_study(study, folder))
        # Runs without a baseline do not say on which photos they were tested until they are measured.
        shutil.rmtree(Plan(study, folder).run_folder(study.fields[0], TRIPLET, 0).path)
        list(run_study(study, folder))
        shutil.copytree(data_path, tmp_path / "data", dirs_exist_ok=True)
        other = folder / "runs" / "bars" / "triplet"
        list(run_study(study, tmp_path / "second"))
        shutil.rmtree(other)
        shutil.copytree(tmp_path / "second" / "runs" / "bars" / "triplet", other)
        with pytest.raises(ValueError, match="was tested on other photos than"):
            measure(folder)

    def test_an_interrupted_run_goes_on_where_the_data_are_now(self, quick, tmp_path, data_path, monkeypatch):
        shutil.copytree(data_path, tmp_path / "old")
        settings = changed(quick, data_path=tmp_path / "old", num_epochs=2)
        whitened = PostProcessing(("whiten",))
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", settings, 1),), processing=whitened)
        folder = tmp_path / "study"
        # A finished run is made an interrupted one, which still has its checkpoint.
        monkeypatch.setattr("pairlens.comparison.run_study.remove_checkpoints", lambda folder: None)
        jobs = run_study(study, folder)
        next(jobs)
        jobs.close()
        outcome = Plan(study, folder).run_folder(study.fields[0], TRIPLET, 0).path / "outcome.json"
        stored = json.loads(outcome.read_text(encoding="utf-8"))
        stored["rows"], stored["epoch"] = stored["rows"][:2], 1
        outcome.write_text(json.dumps(stored), encoding="utf-8")
        (outcome.parent / "post_processed.safetensors").unlink()
        (tmp_path / "old").rename(tmp_path / "new")
        moved = replace(study, fields=(Benchmark("bars", changed(settings, data_path=tmp_path / "new"), 1),))
        done = list(run_study(moved, folder))
        assert [job.what for job in done] == [f"bars: {name}, seed 0, post-processed" for name in ("triplet", "circle")]


class TestPostProcessing:
    def test_a_run_that_cannot_be_processed_does_not_stop_the_others(self, quick, tmp_path, monkeypatch):
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", quick, 1),))
        list(run_study(study, tmp_path))
        model = Plan(study, tmp_path).run_folder(study.fields[0], TRIPLET, 0).path
        monkeypatch.setattr(
            stored_post,
            "post_process_run",
            lambda folder, *rest, original=stored_post.post_process_run, **more: (
                raise_all_equal() if folder == model else original(folder, *rest, **more)
            ),
        )
        first, second = run_study(replace(study, processing=PostProcessing(("whiten",))), tmp_path)
        assert first.what == "bars: triplet, seed 0, not post-processed (all the same)"
        assert second.what == "bars: circle, seed 0, post-processed"
        assert [post.name for post in measure(tmp_path).fields[0].post][:1] == ["circle"]

    def test_a_processed_baseline_of_another_image_size_is_not_taken(self, quick, tmp_path):
        whitened = PostProcessing(("whiten",))
        study = Study((TRIPLET, CIRCLE), (Benchmark("bars", quick, 1),), processing=whitened)
        list(run_study(study, tmp_path))
        plan = Plan(study, tmp_path)
        baseline = plan.run_folder(study.fields[0], TRIPLET, 0).read_outcome().baseline
        file = plan.post_file(study.fields[0], baseline)
        assert stored_post.post_of_baseline(file, baseline, whitened) is not None
        assert stored_post.post_of_baseline(file, replace(baseline, image_size=48), whitened) is None
        fewer = replace(baseline, report=replace(baseline.report, metrics=baseline.report.metrics[1:]))
        assert stored_post.post_of_baseline(file, fewer, whitened) is None


def raise_all_equal():
    raise ValueError("all the same")


def test_epochs_without_an_evaluation_count_in_the_curve_and_in_the_duration(quick, tmp_path, monkeypatch):
    # A clock that goes on by an hour whenever a training reads it, beside which the time of an evaluation is nothing.
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(fit, "time", SimpleNamespace(perf_counter=lambda: next(hours)))
    every, third = (changed(quick, num_epochs=3, evaluate_every=n) for n in (1, 3))
    results = [
        compare(Study((TRIPLET, CIRCLE), (Benchmark("bars", settings, 1),)), tmp_path / name).fields[0]
        for name, settings in (("every", every), ("third", third))
    ]
    assert [loss.evaluated_epochs for loss in results[0].losses] == [(0, 1, 2, 3)] * 2
    assert [loss.evaluated_epochs for loss in results[1].losses] == [(0, 3)] * 2
    lines = (tmp_path / "third" / "comparison.csv").read_text(encoding="utf-8").splitlines()
    assert {line.split(",")[3] for line in lines if line.startswith("bars,circle,0,")} == {"0", "3", "kept", "all"}
    hours_of = [
        seconds_of_rows(tmp_path / name / found.losses[0].runs[0]) / 3600
        for name, found in zip(("every", "third"), results, strict=True)
    ]
    assert hours_of[0] > 3
    assert hours_of[1] == pytest.approx(hours_of[0], abs=0.1)


def seconds_of_rows(run):
    """Return how long the epochs of a run took together, as it stored them."""
    rows = json.loads((run / "outcome.json").read_text(encoding="utf-8"))["rows"]
    return sum(row["seconds"] for row in rows)


def test_figures_of_a_benchmark_that_was_removed_go_with_it(quick, tmp_path):
    both = tuple(Benchmark(name, quick, 1) for name in ("one", "two"))
    study = Study((TRIPLET, CIRCLE), both)
    compare(study, tmp_path)
    drawn = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {"one-ranks.svg", "two-ranks.svg", "rank-agreement.svg"} <= drawn
    (tmp_path / "figures" / "of the user.svg").write_text("<svg/>", encoding="utf-8")
    compare(replace(study, fields=both[:1]), tmp_path)
    left = {file.name for file in (tmp_path / "figures").iterdir()}
    assert left == {*(name for name in drawn if name.startswith("one-")), "of the user.svg"}


def test_a_loss_that_fails_with_every_seed_is_named_and_so_is_a_benchmark_without_a_result(quick, tmp_path):
    study = Study((TRIPLET, CIRCLE, Arm("both", "proxy_anchor")), (Benchmark("bars", quick, 2),))
    fragile = changed(quick, proxy_learning_rate=1e30)
    study = replace(study, fields=(Benchmark("bars", fragile, 2),))
    results = compare(study, tmp_path)
    (failed,) = results.fields[0].failed_losses
    assert (failed.name, len(failed.messages)) == ("both", 2)
    assert results.failed == ()
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "both has no result: it became infinite or NaN with every seed." in text
    only = Study((Arm("a", "proxy_anchor"), Arm("b", "softtriple")), study.fields)
    list(run_study(only, tmp_path / "only"))
    write_study(only, tmp_path / "only")
    with pytest.raises(
        ValueError, match=r"every loss became infinite or NaN with every seed on bars; .* another --out"
    ):
        measure(tmp_path / "only")
