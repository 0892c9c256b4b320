from dataclasses import replace

import pytest

import pairlens as pl
from pairlens.comparison.compare import compare
from pairlens.comparison.results import read_results
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.tables import markdown, post_table, values_table
from pairlens.comparison.verdicts import verdict
from pairlens.core.similarity import unit
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.post_processing import fit_pca
from pairlens.experiments.baseline import initial_backbone, plain_backbone
from pairlens.experiments.post_processed import PostProcessing, post_process_run
from pairlens.experiments.splits import open_splits
from pairlens.report import sections
from pairlens.report.write import write_report
from support.commands import run as command
from support.experiments import changed

WHITENED = PostProcessing(("whiten",), 8)


@pytest.fixture(scope="module")
def study(tiny_with_own_data):
    settings = changed(tiny_with_own_data, num_epochs=1, freeze="backbone", freeze_bn="statistics")
    arms = tuple(map(Arm.of, ("triplet", "circle:gamma=10 as circle 10")))
    return Study(arms, (Benchmark("bars", settings, seeds=2),))


@pytest.fixture(scope="module")
def whitened(study, tmp_path_factory):
    """A finished comparison that is measured once more after whitening, and the jobs of that second call."""
    folder = tmp_path_factory.mktemp("whitened") / "birds"
    compare(study, folder)
    jobs = []
    results = compare(replace(study, processing=WHITENED), folder, watch=jobs.append)
    return folder, results.fields[0], jobs


def test_finished_runs_are_measured_again_without_training(whitened, study):
    folder, result, jobs = whitened
    assert [job.what.endswith("post-processed") for job in jobs] == [True] * 4
    assert compare(replace(study, processing=WHITENED), folder, watch=jobs.append).fields[0] == result
    assert len(jobs) == 4
    assert read_results(folder).fields[0] == result
    assert read_study(folder).processing == WHITENED
    assert Study(study.arms, study.fields) == study


def test_each_loss_has_the_figures_of_its_runs_and_a_paired_gain(whitened, study):
    folder, result, _ = whitened
    plan = Plan(study, folder)
    assert result.post_name == "8 dimensions + whiten"
    assert [post.name for post in result.post] == [*(loss.name for loss in result.losses), "random backbone"]
    for post in result.post[:2]:
        arm = next(arm for arm in study.arms if arm.name == post.name)
        runs = [plan.run_folder(study.fields[0], arm, seed) for seed in range(2)]
        reports = [post_process_run(run.path, WHITENED).report for run in runs]
        assert post.metric("R@1").over_seeds.values == tuple(report["R@1"] for report in reports)
        before = [run.read_outcome().report["MAP@R"] for run in runs]
        gains = [report["MAP@R"] - value for report, value in zip(reports, before, strict=True)]
        assert post.over_seeds.values == pytest.approx(gains)
        assert post.class_low <= post.over_seeds.mean + 1e-9
        assert post.class_high >= post.over_seeds.mean - 1e-9


def test_the_backbone_as_it_comes_is_whitened_too(whitened, study):
    _, result, _ = whitened
    settings = study.fields[0].settings
    splits = open_splits(settings)
    plain = plain_backbone(initial_backbone(settings), settings)
    train, test = (embed(plain, photos, workers=0) for photos in (splits.train, splits.test))
    as_it_comes = evaluate(test.vectors, test.labels)
    expected = evaluate(unit(fit_pca(train.vectors, 8)(test.vectors)), test.labels)
    by_name = {baseline.name: baseline.metrics for baseline in result.baseline_results}
    assert list(by_name) == ["random backbone", "random backbone, 8 dimensions + whiten", "before training"]
    for metric in ("R@1", "MAP@R"):
        assert by_name["random backbone"][metric].values[0] == pytest.approx(as_it_comes[metric], abs=1e-6)
        found = by_name["random backbone, 8 dimensions + whiten"][metric].values[0]
        assert found == pytest.approx(expected[metric], abs=1e-6)
        gain = result.post[-1].metric(metric).over_seeds.values[0]
        assert gain == found


def test_a_backbone_that_is_trained_is_whitened_as_it_came(tiny_with_own_data, tmp_path):
    settings = changed(tiny_with_own_data, num_epochs=1, learning_rate=0.1)
    arms = tuple(map(Arm.of, ("triplet", "contrastive")))
    study = Study(arms, (Benchmark("bars", settings, seeds=1),), processing=WHITENED)
    result = compare(study, tmp_path / "trained").fields[0]
    frozen = changed(settings, num_epochs=0, freeze="backbone", freeze_bn="statistics")
    same = compare(replace(study, fields=(Benchmark("bars", frozen, seeds=1),)), tmp_path / "frozen").fields[0]
    for one, other in zip(result.baseline_results, same.baseline_results, strict=True):
        assert one.metrics["MAP@R"].mean == pytest.approx(other.metrics["MAP@R"].mean, abs=1e-6)


def test_tables_page_and_verdict_show_it(whitened, tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "PLANE_POINTS", 5)
    folder, result, _ = whitened
    table = post_table(result)
    assert [row[0] for row in table.rows] == [post.name for post in result.post]
    assert table.header[-4:] == ["MAP@R gains", "over seeds", "over classes", "seeds"]
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "### After 8 dimensions + whiten, on bars" in text
    assert "| random backbone, 8 dimensions + whiten |" in text
    best = max(result.post[:2], key=lambda post: post.metric("MAP@R").over_seeds.mean)
    assert f"After 8 dimensions + whiten, {best.name} has the highest MAP@R, " in verdict(result)
    assert "; the random backbone " in verdict(result)
    csv = values_table(pl.Results((result,))).rows
    kept = [row for row in csv if row[3] == "kept, 8 dimensions + whiten" and row[4] == "R@1"]
    assert sorted((row[1], row[2]) for row in kept) == [
        (name, seed) for name in ("circle 10", "triplet") for seed in "01"
    ]
    page = write_report(folder, tmp_path / "page.html")[0].read_text(encoding="utf-8")
    assert "After 8 dimensions + whiten, on bars" in page
    plain = replace(result, post=(), post_name="")
    assert post_table(plain) is None
    assert "After" not in verdict(plain)
    assert "After" not in markdown(pl.Results((plain,)))


def test_a_study_file_and_the_command_ask_for_it(whitened, tmp_path, capsys):
    folder, _, _ = whitened
    file = tmp_path / "study.toml"
    file.write_text('losses = ["triplet", "circle"]\npost = ["whiten", "aqe"]\nreduce = 3\n', encoding="utf-8")
    assert read_toml(file).processing == PostProcessing(("whiten", "aqe"), 3)
    file.write_text('losses = ["triplet", "circle"]\npost = ["bleach"]\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"post\[0\] holds 'bleach', but must be one of 'whiten', 'aqe', 'rerank'"):
        read_toml(file)
    assert command("compare", "--resume", folder, "--post", "aqe") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 runs to make" in out
    assert "After aqe, on bars" in out
    assert command("compare", "--resume", folder, "--reduce", 4000) == 2
    assert "--reduce 4000 is more than the --feature_dim 16 of bars; use 1 to 16" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_metric_that_is_not_measured_after_post_processing_cannot_rank(study):
    settings = changed(study.fields[0].settings, metrics=("mrr",))
    with pytest.raises(ValueError, match="--metric MRR is not measured after post-processing"):
        Study(study.arms, (Benchmark("bars", settings),), metric="MRR", processing=WHITENED)
