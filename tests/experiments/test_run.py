import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning import losses as pml
from safetensors.torch import save_file

import pairlens as pl
from conftest import write_bars
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embedding_stats import embedding_stats
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.metrics import mean_similarities
from pairlens.experiments import recorder
from pairlens.experiments import run as running
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import EpochRow, Outcome, best_epoch
from pairlens.experiments.run import run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import split_catalog
from pairlens.losses import Circle, SoftTriple, Triplet
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.checkpoint import load_checkpoint
from pairlens.training.fit import Step
from pairlens.training.learner import Objective
from support.experiments import changed


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    return run(tiny, tmp_path_factory.mktemp("runs") / "bars")


def test_the_run_folder_has_all_files(finished):
    names = {file.name for file in finished.folder.iterdir()}
    assert names == {
        "config.json",
        "outcome.json",
        "statistics.csv",
        "analysis.csv",
        "model.safetensors",
        "model.json",
        "gallery.safetensors",
        "baseline.safetensors",
        "class_sums.safetensors",
        "checkpoint.safetensors",
        "checkpoint_previous.safetensors",
        "curves.png",
        ".lock",
    }


def test_statistics_has_one_row_per_epoch_with_the_documented_columns(finished):
    with RunFolder(finished.folder).statistics.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    promised = ["train_loss", "train_accuracy", "test_MAP@R", "mean_s_p", "mean_s_n", "seconds"]
    promised += [f"test_{metric}@{k}" for metric in ("recall", "precision") for k in (1, 2, 4, 8)]
    assert set(promised) <= set(rows[0])
    assert float(rows[-1]["test_recall@1"]) == pytest.approx(100 * finished.report["R@1"])
    assert 0 <= float(rows[0]["train_accuracy"]) <= 100


def test_the_kept_model_is_the_one_that_was_measured(finished):
    assert evaluate_run(finished.folder) == finished.report
    assert isinstance(finished.model(), Embedder)


def test_the_same_seed_gives_the_same_run_and_another_does_not(finished, tiny, tmp_path):
    again, other = run(tiny, tmp_path / "again"), run(changed(tiny, seed=1), tmp_path / "other")
    state, repeated, different = (r.model().state_dict() for r in (finished, again, other))
    assert all(torch.equal(state[name], repeated[name]) for name in state)
    assert again.outcome.report == finished.outcome.report
    assert not all(torch.equal(state[name], different[name]) for name in state)


def test_training_without_files_gives_the_report_of_a_run_and_writes_nothing(finished, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert running.train_without_files(tiny) == finished.report
    with pytest.raises(FloatingPointError, match="became infinite or NaN"):
        running.train_without_files(changed(tiny, weight_decay=1e30, num_epochs=1))
    assert list(tmp_path.iterdir()) == []


def test_a_run_resumed_after_an_epoch_equals_an_uninterrupted_one(finished, tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "stopped")
    events = running.train(tiny, run_folder)
    for event in events:
        if isinstance(event, EpochRow) and event.epoch == 1:
            break
    events.close()
    assert len(run_folder.read_outcome().rows) == 2
    list(running.resume(run_folder))
    kept, whole = Embedder.load(run_folder.path).state_dict(), finished.model().state_dict()
    assert all(torch.equal(kept[name], whole[name]) for name in whole)
    assert run_folder.read_outcome().report == finished.report
    assert [type(event) for event in running.resume(run_folder)] == [running.Started]


def test_a_finished_run_without_its_checkpoint_is_not_changed(finished, tmp_path):
    copy = RunFolder(shutil.copytree(finished.folder, tmp_path / "copy"))
    (copy.path / "checkpoint.safetensors").unlink()
    (copy.path / "checkpoint_previous.safetensors").unlink()
    before = {file.name: file.read_bytes() for file in copy.path.iterdir() if file.name != ".lock"}
    assert [type(event) for event in running.resume(copy)] == [running.Started]
    assert {file.name: file.read_bytes() for file in copy.path.iterdir() if file.name != ".lock"} == before


def test_an_unfinished_run_without_its_checkpoint_is_refused_and_not_changed(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "run")
    events = running.train(tiny, run_folder)
    next(event for event in events if isinstance(event, EpochRow))
    events.close()
    (run_folder.path / "checkpoint.safetensors").unlink()
    outcome = run_folder.read_outcome()
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors does not exist"):
        list(running.resume(run_folder))
    assert run_folder.read_outcome() == outcome


def test_a_run_resumes_without_the_weights_that_it_started_from(tiny, tmp_path):
    weights = tmp_path / "w.safetensors"
    save_file(Embedder(backbone="test_resnet", weights="none", stride="none").backbone.network.state_dict(), weights)
    run_folder = RunFolder(tmp_path / "run")
    events = running.train(replace(tiny, weights=str(weights)), run_folder)
    next(event for event in events if isinstance(event, EpochRow))
    events.close()
    weights.unlink()
    assert [e.epoch for e in running.resume(run_folder) if isinstance(e, EpochRow)] == [1, 2]


def test_model_and_gallery_are_those_of_the_kept_epoch(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "best_epoch", lambda rows, _experiment: min(1, rows[-1].epoch))
    finished = run(changed(tiny, num_epochs=3), tmp_path / "kept")
    reports = [row.report for row in finished.outcome.rows]
    gallery = Embeddings.load(RunFolder(finished.folder).gallery)
    assert finished.outcome.epoch == 1
    assert reports[1] != reports[3]
    assert evaluate_run(finished.folder) == reports[1] == evaluate(gallery.vectors, gallery.labels)


def test_s_p_and_s_n_are_those_of_the_test_photos(finished):
    gallery = Embeddings.load(RunFolder(finished.folder).gallery)
    row = finished.outcome.rows[-1]
    expected = mean_similarities(gallery.vectors, gallery.labels)
    assert (row.mean_s_p, row.mean_s_n) == pytest.approx(expected, abs=1e-6)


def test_every_setting_reaches_its_object(tiny):
    asked = changed(
        tiny,
        stride="paper",
        learn_power=True,
        descriptors="G",
        smoothing=0.2,
        temperature=0.7,
        auxiliary=2.0,
    )
    asked = changed(asked, freeze_bn="all", precision="bfloat16", weight_decay=0.5, augment="random_resized_crop")
    learner = make_learner(asked, classes=4)
    assert learner.model.architecture == Architecture("test_resnet", "G", 16, 4, "paper", 32, learn_power=True)
    assert learner.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert asked.objective == Objective(0.2, 0.7, 2.0, "all", "bfloat16")
    catalog = Catalog.open(asked.data.path / "bars" / "uncropped.arrow").select("train")
    batches = training_batches(asked, catalog)
    assert (batches.augment, batches.image_size, batches.workers) == ("random_resized_crop", 32, 0)
    assert (batches.sampler.batch_size, batches.sampler.per_class, batches.sampler.seed) == (12, 3, 0)


def test_queries_without_a_gallery_give_an_error(tiny, tmp_path):
    write_bars(tmp_path / "half" / "uncropped.arrow", ("train", "query"))
    with pytest.raises(ValueError, match="query photos or gallery photos, but not both"):
        run(changed(tiny, data_path=tmp_path, data_name="half"), tmp_path / "run")


def test_a_run_stopped_before_its_first_epoch_can_be_resumed(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "early")
    run_folder.create(tiny)
    with pytest.raises(ValueError, match="no finished epoch; resume training with"):
        run_folder.read_outcome()
    assert [e.epoch for e in running.resume(run_folder) if isinstance(e, EpochRow)] == [0, 1, 2]


def test_an_existing_folder_is_never_overwritten(finished, tiny):
    before = (finished.folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"never overwritten.*--resume"):
        run(tiny, finished.folder)
    assert (finished.folder / "model.safetensors").read_bytes() == before


def test_softtriple_trains_its_centres_and_keeps_them_in_the_checkpoint(tiny, tmp_path):
    experiment = changed(tiny, loss=SoftTriple(centers=2), num_epochs=1)
    started = make_learner(experiment, classes=4).criterion.references.vectors.detach().clone()
    run(experiment, tmp_path / "soft")
    learner = make_learner(experiment, classes=4)
    load_checkpoint(learner, tmp_path / "soft")
    assert not torch.equal(started, learner.criterion.references.vectors)


@pytest.mark.parametrize("loss", [Triplet(), Circle(margin=0.25, gamma=256)])
def test_every_loss_runs_on_proxies(tiny, tmp_path, loss):
    experiment = changed(tiny, loss=loss, references="proxies", num_epochs=1)
    assert run(experiment, tmp_path / "proxies").outcome.epoch == 1


def test_query_and_gallery_are_separate_files(tiny, tmp_path):
    finished = run(changed(tiny, data_name="shop", num_epochs=1), tmp_path / "shop")
    assert (finished.folder / "queries.safetensors").is_file()
    assert (finished.report.queries, finished.report.gallery, finished.report.left_out) == (24, 24, 0)
    assert evaluate_run(finished.folder) == finished.report


def test_zero_epochs_measure_the_untrained_model(tiny, tmp_path):
    finished = run(changed(tiny, num_epochs=0), tmp_path / "zero")
    assert finished.outcome.epoch == 0
    assert finished.report == finished.outcome.untrained


def test_validation_classes_are_training_classes_that_are_not_trained_on(tiny):
    catalog = Catalog.open(tiny.data.path / "bars" / "uncropped.arrow")
    splits = split_catalog(catalog, changed(tiny, select="validation"))
    train, held_out = set(splits.train.paths), set(splits.validation.paths)
    assert not train & held_out
    assert train | held_out == set(catalog.select("train").paths)
    assert sorted(splits.train.labels.unique().tolist()) == list(range(splits.train.classes))
    assert splits.validation.classes == 1


def test_selection_on_validation_works_and_is_reported(tiny, tmp_path):
    experiment = changed(tiny, select="validation", batch_size=9)
    finished = run(experiment, tmp_path / "validation")
    assert "held-out" in finished.outcome.selection
    header = (finished.folder / "statistics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "validation_recall@1" in header


def rows_with(values):
    base = run_row()
    return tuple(
        replace(base, epoch=i, report=replace(base.report, metrics=(replace(base.report.metrics[0], value=v),)))
        for i, v in enumerate(values)
    )


def run_row():
    report = evaluate(torch.eye(2)[[0, 0]], torch.tensor([0, 0]), recalls=(1,))
    return EpochRow(0, None, None, report, 0.0, 0.0, 0.0)


def test_which_epoch_is_kept():
    rows = rows_with([0.9, 0.2, 0.5, 0.5, 0.3])
    settings = changed(Experiment(), recalls=(1,))
    assert best_epoch(rows, settings) == 4
    assert best_epoch(rows, changed(settings, select="test")) == 2
    assert best_epoch(rows[:1], settings) == 0
    held_out = rows_with([0.0, 0.1, 0.2, 0.9, 0.3])
    both = tuple(replace(row, validation=other.report) for row, other in zip(rows, held_out, strict=True))
    assert best_epoch(both, changed(settings, select="validation")) == 3


def test_a_selection_on_test_is_stated():
    rows = rows_with([0.1, 0.5])
    assert "selected on test" in Outcome("test", 1, rows).selection
    assert "selected on test" not in Outcome("last", 1, rows).selection


def test_a_foreign_or_damaged_folder_gives_an_error(finished, tmp_path):
    with pytest.raises(ValueError, match="not the folder of a run"):
        RunFolder(tmp_path).experiment()
    config = RunFolder(finished.folder).config.read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config[:40], encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        RunFolder(tmp_path).experiment()
    (tmp_path / "config.json").write_text(json.dumps({**json.loads(config), "epochs": 3}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown key 'epochs'"):
        RunFolder(tmp_path).experiment()


def test_an_opened_run_has_its_settings_photos_and_result(finished, tiny, tmp_path):
    opened = RunFolder(finished.folder).open()
    assert (opened.experiment, opened.outcome) == (tiny, finished.outcome)
    assert (len(opened.splits.train), len(opened.splits.test), opened.splits.gallery) == (24, 24, None)
    moved = shutil.copytree(tiny.data.path, tmp_path / "moved")
    assert RunFolder(finished.folder).open(moved).experiment == changed(tiny, data_path=moved)
    assert RunFolder(finished.folder).open(moved).splits.test.file.is_relative_to(moved)


def test_a_run_without_a_finished_epoch_cannot_be_opened(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "early")
    run_folder.create(tiny)
    with pytest.raises(ValueError, match="no finished epoch"):
        run_folder.open()


def test_a_data_set_that_is_not_prepared_names_the_command(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="pairlens prepare --data_name cub"):
        run(changed(tiny, data_name="cub", data_path=tmp_path), tmp_path / "x")
    with pytest.raises(ValueError, match="needs bounding boxes, which sop"):
        run(changed(tiny, data_name="sop", crop_type="cropped", data_path=tmp_path), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_run_of_a_wrapped_loss_is_evaluated_and_resumed_in_python(tiny, tmp_path):
    make = lambda: pl.wrap(pml.CircleLoss(0.4, 80))  # noqa: E731
    whole = run(replace(tiny, loss=make()), tmp_path / "whole")
    ours = run(tiny, tmp_path / "ours")
    assert whole.outcome.rows[1].train_loss == pytest.approx(ours.outcome.rows[1].train_loss, rel=1e-3)
    assert evaluate_run(whole.folder) == whole.report
    run_folder = RunFolder(tmp_path / "stopped")
    events = running.train(replace(tiny, loss=make()), run_folder)
    for event in events:
        if isinstance(event, EpochRow) and event.epoch == 1:
            break
    events.close()
    with pytest.raises(ValueError, match="not stored with its run"):
        list(running.resume(run_folder))
    assert pl.resume_run(run_folder.path, loss=make()).report == whole.report


def test_a_resumed_run_with_a_memory_equals_an_uninterrupted_one(tiny, tmp_path):
    experiment = changed(tiny, references="memory", memory_size=40, memory_warm_up=1, warm_up=1, clip_value=1.0)
    whole = run(experiment, tmp_path / "whole")
    run_folder = RunFolder(tmp_path / "stopped")
    events = running.train(experiment, run_folder)
    for event in events:
        if isinstance(event, EpochRow) and event.epoch == 1:
            break
    events.close()
    assert pl.resume_run(run_folder.path).report == whole.report
    kept, expected = Embedder.load(run_folder.path).state_dict(), whole.model().state_dict()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_the_analysis_has_one_row_per_epoch_of_seen_and_unseen_photos(finished):
    with RunFolder(finished.folder).analysis.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["seen_auc"] == ""
    assert all(float(row["unseen_photos"]) == 24 for row in rows)
    assert all(-1 <= float(row["gradient_cosine"]) <= 1 for row in rows[1:])
    gallery = Embeddings.load(RunFolder(finished.folder).gallery)
    shape = embedding_stats(gallery.vectors, gallery.labels, finished.experiment.loss)
    for name, value in vars(shape).items():
        assert float(rows[2][f"unseen_{name}"]) == pytest.approx(value, rel=1e-4), name


def test_the_analysis_does_not_change_the_training(finished, tiny, tmp_path):
    blind = run(changed(tiny, log_analysis=False), tmp_path / "blind")
    state, other = finished.model().state_dict(), blind.model().state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert not RunFolder(blind.folder).analysis.exists()
    assert blind.outcome.rows[1].seen is None


def test_a_resumed_run_has_the_analysis_of_an_uninterrupted_one(finished, tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "stopped")
    events = running.train(tiny, run_folder)
    next(event for event in events if isinstance(event, EpochRow) and event.epoch == 1)
    events.close()
    list(running.resume(run_folder))
    assert run_folder.analysis.read_text(encoding="utf-8") == RunFolder(finished.folder).analysis.read_text(
        encoding="utf-8"
    )


def weights(folder):
    return Embedder.load(folder).state_dict()


def have_equal_weights(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(finished, tiny, tmp_path):
    other = run(changed(tiny, workers=2), tmp_path / "two")
    assert have_equal_weights(other.folder, finished.folder)
    assert [row.train_loss for row in other.outcome.rows] == [row.train_loss for row in finished.outcome.rows]


def test_another_number_of_threads_agrees_to_rounding_only(tiny, tmp_path):
    threads, results = torch.get_num_threads(), []
    # In a network with so few channels as `test_resnet` rounding grows faster.
    settings = changed(
        tiny, backbone="resnet10t", optimizer="sgd", learning_rate=1e-3, num_epochs=1, log_analysis=False
    )
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(weights(run(settings, tmp_path / str(count)).folder))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.allclose(t, results[1][name], rtol=1e-3, atol=1e-4) for name, t in results[0].items())


RUN_AGAIN = """
import sys
from pathlib import Path
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run import run
run(RunFolder(Path(sys.argv[1])).experiment(), Path(sys.argv[2]))
"""


def test_another_kind_of_processor_agrees_to_rounding_only(tiny, tmp_path):
    # The code of PyTorch and oneDNN for ten-year-old processors stands for another machine.
    settings = changed(tiny, optimizer="sgd", learning_rate=1e-3, num_epochs=1, log_analysis=False)
    here = weights(run(settings, tmp_path / "here").folder)
    older = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "error", "-c", RUN_AGAIN, tmp_path / "here", tmp_path / "there"]
    subprocess.run(words, check=True, env={**os.environ, **older})
    there = weights(tmp_path / "there")
    assert all(torch.allclose(t, there[name], rtol=1e-3, atol=1e-4) for name, t in here.items())
    if platform.machine() == "x86_64":
        assert not all(torch.equal(t, there[name]) for name, t in here.items())


def until(events, steps):
    """Take events until a number of steps is reached."""
    while steps:
        steps -= isinstance(next(events), Step)


def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(finished, tiny, tmp_path, monkeypatch):
    run_folder, settings = RunFolder(tmp_path / "r"), changed(tiny, checkpoint_minutes=1e-9)
    events = running.train(settings, run_folder)
    until(events, 3)
    events.close()
    assert [e.step for e in running.resume(run_folder) if isinstance(e, Step)] == [2]
    assert have_equal_weights(run_folder.path, finished.folder)
    assert run_folder.analysis.read_text(encoding="utf-8") == RunFolder(finished.folder).analysis.read_text(
        encoding="utf-8"
    )


def test_checkpoints_within_an_epoch_are_written_when_they_are_due(tiny, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(recorder, "save_checkpoint", lambda learner, *_: written.append(learner.progress is not None))
    for minutes, within in ((0, 0), (1e-9, 4), (60, 0)):
        written.clear()
        run(changed(tiny, checkpoint_minutes=minutes), tmp_path / str(minutes))
        assert (written.count(True), written.count(False)) == (within, 3)


def test_a_run_in_use_gives_an_error_to_other_processes(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "r")
    events = running.train(tiny, run_folder)
    until(events, 1)
    for attempt in (
        lambda: list(running.resume(run_folder)),
        lambda: run(tiny, run_folder.path),
        lambda: evaluate_run(run_folder.path),
    ):
        with pytest.raises(ValueError, match="is being written to by process"):
            attempt()
    assert len(list(events)) == 5
    assert len(run_folder.read_outcome().rows) == 3


def test_the_folder_of_a_run_that_was_killed_at_its_start_can_be_used(tiny, tmp_path):
    (tmp_path / "r").mkdir()
    for name in (".lock", "config.json.part"):
        (tmp_path / "r" / name).write_text("", encoding="utf-8")
    assert run(changed(tiny, num_epochs=0), tmp_path / "r").outcome.epoch == 0


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_data_file_that_is_cut_or_removed_while_training_gives_an_error(tiny, tmp_path, workers, damage):
    shutil.copytree(tiny.data.path / "bars", tmp_path / "data" / "bars")
    file = tmp_path / "data" / "bars" / "uncropped.arrow"
    run_folder = RunFolder(tmp_path / "r")
    events = running.train(changed(tiny, data_path=tmp_path / "data", workers=workers), run_folder)
    until(events, 1)
    data = file.read_bytes()
    if damage == "cut":
        with file.open("r+b") as opened:
            opened.truncate(500)
    else:
        file.unlink()
    with pytest.raises(ValueError, match={"cut": "was changed while it was in use", "gone": "disappeared"}[damage]):
        list(events)
    if not workers:
        file.write_bytes(data)
        assert [e.epoch for e in running.resume(run_folder) if isinstance(e, EpochRow)] == [1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_file_that_is_touched_or_written_again_while_training_changes_nothing(finished, tiny, tmp_path, workers):
    shutil.copytree(tiny.data.path / "bars", tmp_path / "data" / "bars")
    file = tmp_path / "data" / "bars" / "uncropped.arrow"
    events = running.train(changed(tiny, data_path=tmp_path / "data", workers=workers), RunFolder(tmp_path / "r"))
    until(events, 1)
    file.touch()
    until(events, 2)
    file.write_bytes(file.read_bytes())
    list(events)
    assert have_equal_weights(tmp_path / "r", finished.folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_file_whose_bytes_change_while_training_is_named(tiny, tmp_path, workers):
    shutil.copytree(tiny.data.path / "bars", tmp_path / "data" / "bars")
    file = tmp_path / "data" / "bars" / "uncropped.arrow"
    events = running.train(changed(tiny, data_path=tmp_path / "data", workers=workers), RunFolder(tmp_path / "r"))
    until(events, 1)
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 4)
        opened.write(b"\xff" * (file.stat().st_size // 2))
    with pytest.raises(ValueError, match="was changed while it was in use"):
        list(events)


def test_a_run_that_diverges_names_the_last_good_checkpoint(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "r")
    with pytest.raises(FloatingPointError, match=r"after 0 epochs and 1 steps.*checkpoint\.safetensors, of 0 epochs"):
        list(running.train(changed(tiny, learning_rate=1e30, checkpoint_minutes=1e-9), run_folder))
    assert len(run_folder.read_outcome().rows) == 1


def test_a_last_step_that_overflows_the_weights_names_the_last_good_checkpoint(tiny, tmp_path):
    run_folder = RunFolder(tmp_path / "r")
    settings = changed(tiny, learning_rate=1e30, batch_size=24, per_class=6)
    with pytest.raises(
        FloatingPointError, match=r"after epoch 1 the embedding of .* is not finite.*last good checkpoint"
    ):
        list(running.train(settings, run_folder))
    assert len(run_folder.read_outcome().rows) == 1


def test_skipped_steps_have_a_column(tiny, tmp_path, monkeypatch):
    from pairlens.training import fit

    taken, learn = [], fit.training_step

    def sometimes(*arguments, **named):
        taken.append(1)
        if len(taken) == 2:
            raise FloatingPointError("the loss became nan")
        return learn(*arguments, **named)

    monkeypatch.setattr(fit, "training_step", sometimes)
    run_folder = RunFolder(run(changed(tiny, on_nan="skip"), tmp_path / "r").folder)
    with run_folder.statistics.open(encoding="utf-8") as file:
        assert [row["skipped"] for row in csv.DictReader(file)] == ["1", "0"]


def test_a_full_disk_gives_an_error_and_the_run_resumes_when_there_is_space(finished, tiny, tmp_path, monkeypatch):
    run_folder = RunFolder(tmp_path / "r")
    events = running.train(tiny, run_folder)
    next(e for e in events if isinstance(e, EpochRow) and e.epoch == 1)

    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OSError, match=r"No space left.*free some space, then resume with pairlens train --resume"):
            list(events)
    list(running.resume(run_folder))
    assert have_equal_weights(run_folder.path, finished.folder)
