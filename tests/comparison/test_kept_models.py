"""A comparison that keeps the models of the first seed has the same results as one that keeps all."""

import shutil
from dataclasses import replace

import pytest

from pairlens.comparison.compare import compare
from pairlens.comparison.run_study import run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.comparison.study_plan import FAILED_FILE, Plan
from pairlens.experiments.post_processed import PostProcessing
from pairlens.experiments.run_folder import RunFolder
from pairlens.report.write import write_report
from pairlens.training.checkpoint import CHECKPOINT_FILE
from support.commands import run as command
from support.experiments import changed

MODEL = ("model.safetensors", "gallery.safetensors")


@pytest.fixture(scope="module")
def study(tiny_with_own_data):
    settings = changed(tiny_with_own_data, num_epochs=1, freeze="backbone", freeze_bn="statistics")
    arms = tuple(map(Arm.of, ("triplet", "circle:gamma=10 as circle 10")))
    benchmark = Benchmark("bars", settings, seeds=2, first_seed=3)
    return Study(arms, (benchmark,), processing=PostProcessing(("whiten",)), keep="first_seed")


@pytest.fixture(scope="module")
def kept(study, tmp_path_factory):
    """The folder of a finished comparison."""
    folder = tmp_path_factory.mktemp("kept") / "birds"
    compare(study, folder)
    return folder


def seeds_with(file, folder):
    return {path.parent.name for path in folder.glob(f"runs/*/*/*/{file}")}


def without_seconds(results):
    fields = [replace(f, losses=tuple(replace(loss, seconds=0.0) for loss in f.losses)) for f in results.fields]
    return fields, results.findings


def test_only_the_first_seed_has_a_model_and_embedded_photos(kept):
    for file in MODEL:
        assert seeds_with(file, kept) == {"seed3"}
    for file in ("outcome.json", "class_sums.safetensors", "post_processed.safetensors", "curves.png"):
        assert seeds_with(file, kept) == {"seed3", "seed4"}


def test_the_results_are_those_of_runs_that_all_have_their_models(study, kept, tmp_path):
    results = compare(replace(study, keep="all"), tmp_path)
    for file in MODEL:
        assert seeds_with(file, tmp_path) == {"seed3", "seed4"}
    assert {one.measurement for one in results.findings.predictions} >= {"effective rank, test photos"}
    assert without_seconds(results) == without_seconds(measure(kept))
    # The stored spectrum is that of the embedded photos, which earlier versions read.
    for file in tmp_path.glob("runs/*/*/*/class_sums.safetensors"):
        file.unlink()
    assert without_seconds(measure(tmp_path)) == without_seconds(results)


def test_nothing_is_made_again_and_the_page_is_written(study, kept, tmp_path):
    assert list(run_study(study, kept)) == []
    assert read_study(kept).keep == "first_seed"
    _, missing = write_report(kept, tmp_path / "page.html")
    assert missing == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"pairlens query {kept}/runs/bars/" in page
    assert "/seed3 --query_img_name" in page


def test_a_later_seed_stands_for_a_loss_whose_first_one_failed(study, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "birds")
    run = tmp_path / "birds/runs/bars/triplet/seed3"
    (run / FAILED_FILE).write_text("the loss became nan\n", encoding="utf-8")
    # Seed 4 has no model any more, so seed 5 is the next one that can stand for the loss.
    list(run_study(replace(study, fields=(replace(study.fields[0], seeds=3),)), tmp_path / "birds"))
    with_model = {str(file.parent.relative_to(tmp_path / "birds/runs/bars")) for file in tmp_path.rglob(MODEL[0])}
    assert with_model == {"triplet/seed3", "triplet/seed5", "circle-10/seed3"}


def test_a_model_stays_until_an_earlier_seed_has_one(study, tmp_path, monkeypatch):
    compare(replace(study, keep="all"), tmp_path)
    shutil.rmtree(tmp_path / "runs/bars/triplet/seed3")
    with monkeypatch.context() as patch:
        patch.setattr("pairlens.comparison.run_study._events", stopped_at_seed_3)
        with pytest.raises(KeyboardInterrupt):
            list(run_study(study, tmp_path))
    later = RunFolder(tmp_path / "runs/bars/triplet/seed4")
    assert later.has_model
    list(run_study(study, tmp_path))
    assert not later.holds_model_files


def test_weights_stay_where_no_seed_has_a_complete_model(study, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "birds")
    run = RunFolder(tmp_path / "birds/runs/bars/triplet/seed3")
    run.gallery.unlink()
    assert list(run_study(study, tmp_path / "birds")) == []
    assert run.holds_model_files


def stopped_at_seed_3(run_folder, *rest):
    raise KeyboardInterrupt


def test_a_run_that_could_not_be_measured_keeps_its_model(study, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("its embeddings are all equal")

    with monkeypatch.context() as patch:
        patch.setattr("pairlens.comparison.run_study.measure_post_of_run", fail)
        found = [job.what for job in run_study(study, tmp_path)]
    assert all("not post-processed (its embeddings are all equal)" in what for what in found)
    assert seeds_with(MODEL[0], tmp_path) == {"seed3", "seed4"}
    # It can be measured later, and is removed then.
    assert len(list(run_study(study, tmp_path))) == 4
    assert seeds_with(MODEL[0], tmp_path) == {"seed3"}


def test_the_runs_are_measured_although_their_backbone_as_it_comes_cannot_be(study, tmp_path, monkeypatch):
    def fail(*_):
        raise FileNotFoundError("the weights of the backbone are gone")

    monkeypatch.setattr("pairlens.comparison.run_study.measure_post_of_baseline", fail)
    found = [job.what for job in run_study(study, tmp_path)]
    assert all("post-processed, but not its backbone as it comes (the weights" in what for what in found)
    assert seeds_with("post_processed.safetensors", tmp_path) == {"seed3", "seed4"}


def test_a_run_that_is_in_use_is_left_alone_and_what_an_interruption_left_goes_later(study, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "birds")
    first, second = (RunFolder(tmp_path / f"birds/runs/bars/triplet/seed{seed}") for seed in (3, 4))
    shutil.copy(first.gallery, second.gallery)
    shutil.copy(first.gallery, second.queries)
    (second.path / CHECKPOINT_FILE).write_bytes(b"of an earlier version")
    with second.lock():
        assert list(run_study(study, tmp_path / "birds")) == []
        assert second.gallery.is_file()
    list(run_study(study, tmp_path / "birds"))
    assert not second.holds_model_files
    assert not (second.path / CHECKPOINT_FILE).exists()
    assert first.has_model


def test_it_may_be_asked_for_when_runs_are_finished(study, tmp_path):
    compare(replace(study, keep="all"), tmp_path)
    old = RunFolder(tmp_path / "runs/bars/triplet/seed4")
    old.class_sums.unlink()
    assert list(run_study(study, tmp_path)) == []
    # The results of an earlier version need the embedded photos.
    left = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("runs/*/*/*/gallery.safetensors")}
    assert left == {"runs/bars/triplet/seed3", "runs/bars/triplet/seed4", "runs/bars/circle-10/seed3"}
    list(run_study(replace(study, keep="all"), tmp_path))
    assert measure(tmp_path).fields[0].losses[0].seeds == (3, 4)


def test_a_run_without_its_model_is_named_where_one_is_needed(kept, tmp_path, capsys):
    run = Plan(read_study(kept), kept).folder / "runs/bars/triplet/seed4"
    assert command("evaluate", run) == 2
    assert "a finished run that has kept its model" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has not kept its model and its embedded photos"):
        RunFolder(run).read_embeddings()
    assert command("train", "--resume", run) == 0
    assert "R@1" in capsys.readouterr().out
    # Its page has no photos, but the paired gain, which comes from stored sums.
    page, missing = write_report(run, tmp_path / "run.html")
    assert "a finished run that has kept its model" in missing
    assert "not paired" not in page.read_text(encoding="utf-8")


def test_a_run_without_a_checkpoint_gets_new_settings_and_a_remedy_that_works(kept, tmp_path, capsys):
    shutil.copytree(kept, tmp_path / "birds")
    run = RunFolder(tmp_path / "birds/runs/bars/triplet/seed4")
    shutil.copytree(run.experiment().data.path, tmp_path / "moved")
    assert command("train", "--resume", run.path, "--data_path", tmp_path / "moved") == 0
    assert run.experiment().data.path == tmp_path / "moved"
    run.outcome.write_text("{", encoding="utf-8")
    assert command("compare", "--resume", tmp_path / "birds") == 2
    error = capsys.readouterr().err
    assert "train --resume" not in error
    assert f"remove {run.path} and train it again" in error
    shutil.rmtree(run.path)
    assert command("compare", "--resume", tmp_path / "birds") == 0


def test_processing_that_is_asked_for_later_is_done_where_a_model_is_left(study, kept, tmp_path, capsys):
    shutil.copytree(kept, tmp_path / "birds")
    other = replace(study, processing=PostProcessing(("whiten",), 8))
    assert ["seed 3" in job.what for job in run_study(other, tmp_path / "birds")] == [True, True]
    assert list(run_study(other, tmp_path / "birds")) == []
    assert command("compare", "--resume", tmp_path / "birds") == 0
    assert "2 runs have not kept their model, so they cannot be measured" in capsys.readouterr().out


def test_a_file_and_the_command_line_say_it(tmp_path, kept, capsys):
    file = tmp_path / "study.toml"
    text = 'losses = ["triplet", "circle"]\nkeep = "{}"\n[settings]\ndata_name = "cub"\n'
    file.write_text(text.format("first_seed"), encoding="utf-8")
    assert read_toml(file).keep == "first_seed"
    file.write_text(text.format("some"), encoding="utf-8")
    with pytest.raises(ValueError, match="keep"):
        read_toml(file)
    assert command("compare", "--resume", kept, "--keep", "all") == 0
    assert read_study(kept).keep == "all"
    assert command("compare", "--resume", kept) == 0
    assert read_study(kept).keep == "all"
