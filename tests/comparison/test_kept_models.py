"""A comparison that keeps the models of the first seed has the same results as one that keeps all."""

from dataclasses import replace

import pytest

from pairlens.comparison.compare import compare
from pairlens.comparison.run_study import run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.comparison.study_plan import Plan
from pairlens.experiments.post_processed import PostProcessing
from pairlens.experiments.run_folder import RunFolder
from pairlens.report.write import write_report
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
    write_report(kept, tmp_path / "page.html")
    assert "circle 10" in (tmp_path / "page.html").read_text(encoding="utf-8")


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


def test_a_run_without_its_model_is_named_where_one_is_needed(kept, capsys):
    run = Plan(read_study(kept), kept).folder / "runs/bars/triplet/seed4"
    assert command("evaluate", run) == 2
    assert "a finished run that has kept its model" in capsys.readouterr().err
    assert command("train", "--resume", run) == 0
    assert "R@1" in capsys.readouterr().out


def test_processing_that_is_asked_for_later_says_what_is_missing(study, kept):
    other = replace(study, processing=PostProcessing(("whiten",), 8))
    found = {job.what: job for job in run_study(other, kept)}
    assert len(found) == 4
    for what, job in found.items():
        assert ("not post-processed" in what) == ("seed 4" in what)
        assert job.value > 0
    list(run_study(study, kept))


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
