"""The option --metrics: in training, evaluation, comparison, study files and reports."""

import csv
import json
import re
import shutil
import sys

import pytest

from pairlens.comparison.results import read_results
from pairlens.comparison.statistics import measure
from pairlens.comparison.study_file import read_study
from pairlens.experiments.run_folder import RunFolder
from support.commands import QUICK, run

SMALL = [word.replace("resnet10t", "test_resnet") for word in QUICK]
METRICS = ["--metrics", "map_at_k", "mrr", "opis", "metrics_of_mine:first_right"]
NAMES = ["mAP@1", "mAP@2", "mAP@4", "mAP@8", "MRR", "OPIS", "first_right"]
MODULE = "def first_right(retrieved):\n    return retrieved.correct[:, 0].float()\n"


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "metrics_of_mine.py").write_text(MODULE, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("metrics_of_mine", None)


@pytest.fixture(scope="module")
def trained(outside, data_path, tmp_path_factory):
    runs = tmp_path_factory.mktemp("metrics")
    assert run("train", "triplet", "--data_path", data_path, "--runs", runs, "--name", "r", *SMALL, *METRICS) == 0
    return runs / "r"


@pytest.fixture(scope="module")
def compared(outside, data_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "c"
    words = ["--losses", "triplet", "circle", "--seeds", 2, "--metric", "MRR", "--data_path", data_path, "--out", out]
    assert run("compare", *words, *SMALL, *METRICS) == 0
    return out


def test_evaluate_shows_what_was_asked_for_and_names_what_must_be_given_again(trained, capsys):
    assert run("evaluate", trained, *METRICS) == 0
    printed = capsys.readouterr().out
    report = RunFolder(trained).read_outcome().report
    # The short table has the further metrics, of mAP@K that of the greatest K.
    header = "".join(line for line in printed.splitlines() if "model" in line or "MRR" in line)
    assert "mAP@8" in header
    assert "mAP@2" not in printed[: printed.index("R@1 ")]
    assert "before training" in printed
    for metric in report.metrics:
        assert str(metric) in printed
    opis = next(metric for metric in report.metrics if metric.name == "OPIS")
    assert f"{100 * opis.value:.3f}" in printed
    assert run("evaluate", trained) == 2
    assert "measures metrics_of_mine:first_right" in capsys.readouterr().err
    assert run("evaluate", trained, "--metrics", "mrr", "--all") == 0
    table, _, open_set = capsys.readouterr().out.partition("open set: ")
    assert "OPIS" not in table
    assert f"OPIS {100 * opis.value:.3f} %" in open_set


def test_resume_takes_the_metrics_again(trained, capsys):
    assert run("train", "--resume", trained) == 2
    assert "give all metrics of the run again: --metrics" in capsys.readouterr().err
    assert run("train", "--resume", trained, *METRICS) == 0
    assert run("train", "--resume", trained, "--metrics", "mrr") == 2
    assert "give the same --metrics as at the start" in capsys.readouterr().err


@pytest.mark.usefixtures("without_rendering")
def test_the_report_of_a_run_explains_the_further_metrics(trained, tmp_path):
    assert run("report", trained, "--out", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for name in (*NAMES, "mAP@K"):
        assert name in page
    assert "A metric from outside Pairlens" in page
    again = re.search(r"pairlens train triplet [^<]*", page)
    assert "--metrics map_at_k mrr opis metrics_of_mine:first_right" in again[0]


def test_a_comparison_measures_and_ranks_by_a_further_metric(compared):
    (result,) = read_results(compared).fields
    assert result.metric == "MRR"
    means = [loss.metric("MRR").over_seeds.mean for loss in result.losses]
    assert means == sorted(means, reverse=True)
    for loss in result.losses:
        assert [metric.name for metric in loss.metrics][-len(NAMES) :] == NAMES
        assert loss.metric("first_right").over_seeds == loss.metric("R@1").over_seeds
        # The same values give the same interval over the classes, whether measured again or stored.
        for end in ("class_low", "class_high"):
            stored, measured = getattr(loss.metric("first_right"), end), getattr(loss.metric("R@1"), end)
            assert stored == pytest.approx(measured, abs=1e-12)
    assert result.differences[0].metric == "MRR"


def test_every_table_of_a_comparison_has_the_further_metrics(compared, capsys):
    text = (compared / "comparison.md").read_text(encoding="utf-8")
    assert all(f"| {name} " in text for name in NAMES)
    with (compared / "comparison.csv").open(encoding="utf-8") as file:
        assert set(NAMES) <= {row["metric"] for row in csv.DictReader(file)}
    assert "OPIS" in (compared / "comparison.tex").read_text(encoding="utf-8")
    assert run("compare", "--resume", compared, "--all") == 2
    assert "--trust metrics_of_mine or --trust_study" in capsys.readouterr().err
    assert run("compare", "--resume", compared, "--all", "--trust", "metrics_of_mine") == 0
    assert "OPIS" in capsys.readouterr().out


@pytest.mark.usefixtures("without_rendering")
def test_the_results_of_a_comparison_are_measured_without_the_module(compared, monkeypatch):
    sys.modules.pop("metrics_of_mine", None)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if "outside" not in part])
    (result,) = measure(compared).fields
    assert result == read_results(compared).fields[0]
    assert run("report", compared) == 0
    assert "metrics_of_mine" not in sys.modules


def test_a_missing_file_of_class_values_is_one_sentence(compared):
    file = next(compared.rglob("class_values.json"))
    content = file.read_text(encoding="utf-8")
    file.unlink()
    # Runs of earlier versions lack the sums of all metrics.
    (file.parent / "class_sums.safetensors").unlink()
    # A finished run of a comparison has no checkpoint from which it could be written again.
    with pytest.raises(ValueError, match=r"lacks the metric mAP@1; remove .* and train it again"):
        measure(compared)
    stored = json.loads(content)
    stored["metrics"][0]["sums"].append(0.0)
    file.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match="mAP@1 has 5 classes, the gallery 4"):
        measure(compared)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"class_values\.json is damaged .*; remove .* and train it again"):
        measure(compared)
    file.write_text(content, encoding="utf-8")


@pytest.mark.parametrize("change", ["cut", "fewer", "missing"])
def test_a_damaged_file_of_class_values_is_written_again(trained, tmp_path, change):
    folder = shutil.copytree(trained, tmp_path / "run")
    file = folder / "class_values.json"
    content = file.read_text(encoding="utf-8")
    fewer = json.loads(content)
    fewer["metrics"] = fewer["metrics"][:1]
    file.write_text({"cut": content[:40], "fewer": json.dumps(fewer), "missing": ""}[change], encoding="utf-8")
    if change == "missing":
        file.unlink()
    assert run("train", "--resume", folder, *METRICS) == 0
    assert file.read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--metric", "MRR"], "--metric MRR is not measured"),
        (["--metric", "OPIS", "--metrics", "opis"], "--metric OPIS is better when it is lower"),
        (["--metric", "nope", "--metrics", "metrics_of_mine:first_right"], "--metric nope is not measured"),
        (["--metrics", "ndcg"], "there is no metric 'ndcg'"),
        (["--metrics", "metrics_of_mine:absent"], "metrics_of_mine:absent cannot be found"),
    ],
)
def test_a_metric_that_cannot_be_ranked_by_is_refused_before_anything_runs(
    outside, data_path, tmp_path, capsys, words, sentence
):
    out = tmp_path / "c"
    losses = ["--losses", "triplet", "circle", "--seeds", 1, "--data_path", data_path, "--out", out]
    assert run("compare", *losses, *SMALL, *words) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_a_study_file_names_its_metrics(compared, data_path, tmp_path):
    from pairlens.comparison.reproduce import study_text
    from pairlens.comparison.study_file import read_toml

    study = read_study(compared)
    file = tmp_path / "study.toml"
    file.write_text(study_text(study), encoding="utf-8")
    assert 'metrics = ["map_at_k", "mrr", "opis", "metrics_of_mine:first_right"]' in file.read_text(encoding="utf-8")
    assert read_toml(file).fields[0].settings.evaluation.metrics == study.fields[0].settings.evaluation.metrics
