"""Further metrics of a run: by name, from outside, stored by name and value, given again to resume."""

import csv
import json
import sys

import pytest
import torch

import pairlens as pl
from pairlens.core.records import to_plain
from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.experiment import EvaluationConfig, Experiment
from pairlens.experiments.metric_spec import import_metrics
from pairlens.experiments.run import resume_run, run, train
from pairlens.experiments.run_folder import RunFolder
from support.experiments import changed

MODULE = """
from pathlib import Path
from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition

Path({sentinel!r}).touch()

def first_right(retrieved):
    return retrieved.correct[:, 0].float()

last_right = MetricDefinition("right at 3", lambda retrieved: retrieved.correct[:, 2].float(), ranks=3, decimals=2)
spread = ClassMetric("class number", lambda pairs: pairs.classes / 100)
number = 7
"""
STANDARD = [f"{letter}@{k}" for letter in "RP" for k in (1, 2, 4, 8)] + ["R-Precision", "MAP@R"]


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A module with metrics, on the Python path, that touches a file when it is imported; returns that file."""
    folder = tmp_path_factory.mktemp("outside")
    sentinel = folder / "imported"
    (folder / "outside_metrics.py").write_text(MODULE.format(sentinel=str(sentinel)), encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield sentinel
    sys.path.remove(str(folder))
    sys.modules.pop("outside_metrics", None)


CHOICES = (
    "map_at_3",
    "mrr",
    "opis",
    "outside_metrics:last_right",
    "outside_metrics:first_right",
    "outside_metrics:spread",
)
NAMES = ["mAP@3", "MRR", "OPIS", "right at 3", "first_right", "class number"]


@pytest.fixture(scope="module")
def finished(tiny, outside, tmp_path_factory):
    settings = changed(tiny, num_epochs=1, backbone="test_resnet", metrics=CHOICES, select="validation", batch_size=9)
    return run(settings, tmp_path_factory.mktemp("runs") / "metrics")


@pytest.fixture
def without_module(outside):
    """The state of a later process: the module is not imported, and its sentinel is gone."""
    sys.modules.pop("outside_metrics", None)
    outside.unlink(missing_ok=True)
    return outside


def test_every_row_and_table_of_a_run_has_the_further_metrics(finished):
    for row in finished.outcome.rows:
        assert [metric.name for metric in row.report.metrics] == STANDARD + NAMES
        assert [metric.name for metric in row.validation.metrics] == STANDARD + NAMES
    # The values of the function from outside are those of the same metric of Pairlens.
    assert finished.report["first_right"] == finished.report["R@1"]
    metric = next(m for m in finished.report.metrics if m.name == "right at 3")
    assert metric.low <= metric.value <= metric.high
    assert metric.decimals == 2
    with RunFolder(finished.folder).statistics.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    for name in NAMES:
        assert float(table[0][f"test_{name}"]) == pytest.approx(100 * finished.report[name]), name
        assert f"validation_{name}" in table[0]


def test_opening_a_run_imports_nothing_and_keeps_its_values(finished, without_module):
    run_folder = RunFolder(finished.folder)
    assert run_folder.experiment().evaluation.metrics == CHOICES
    assert run_folder.read_outcome() == finished.outcome
    assert {m.name for m in ClassValues.load(run_folder.class_values).metrics} == set(NAMES)
    for call in (resume_run, evaluate_run):
        with pytest.raises(
            ValueError, match=r"measures outside_metrics:last_right, .*; the code of such a metric is not"
        ):
            call(finished.folder)
    assert not without_module.exists()


def test_metrics_are_given_again_to_evaluate_and_to_resume(finished, outside):
    assert evaluate_run(finished.folder, metrics=CHOICES) == finished.report
    assert [m.name for m in evaluate_run(finished.folder, metrics=["mrr"]).metrics] == [*STANDARD, "MRR"]
    assert resume_run(finished.folder, metrics=CHOICES).outcome == finished.outcome
    with pytest.raises(ValueError, match=r"have the metrics R@1, .*give the same --metrics"):
        resume_run(finished.folder, metrics=["mrr"])


def test_an_interrupted_run_resumes_to_the_same_metrics(finished, tiny, outside, tmp_path):
    events = train(finished.experiment, RunFolder(tmp_path / "run"))
    # `Started` and the evaluation before training.
    next(events), next(events)
    events.close()
    assert resume_run(tmp_path / "run", metrics=CHOICES).report == finished.report


def test_a_missing_file_of_class_values_is_written_again(finished, outside):
    file = RunFolder(finished.folder).class_values
    before = file.read_text(encoding="utf-8")
    file.unlink()
    resume_run(finished.folder, metrics=CHOICES)
    assert file.read_text(encoding="utf-8") == before


def test_a_definition_in_python_is_stored_by_its_name(tiny, tmp_path):
    mine = MetricDefinition("mine", lambda retrieved: retrieved.correct[:, 1].float(), ranks=2)
    settings = changed(tiny, num_epochs=0, backbone="test_resnet", metrics=[mine, "mrr"])
    finished = run(settings, tmp_path / "run")
    assert finished.report["mine"] <= 1
    stored = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["evaluation"]["metrics"]
    assert stored[0]["name"] == "mine"
    assert stored[0]["ranks"] == 2
    opened = RunFolder(tmp_path / "run").experiment().evaluation.metrics
    assert opened[1] == "mrr"
    with pytest.raises(ValueError, match="measures mine; the code of such a metric is not stored"):
        evaluate_run(tmp_path / "run")
    assert evaluate_run(tmp_path / "run", metrics=[mine, "mrr"]) == finished.report


def test_texts_name_definitions_and_functions(outside):
    last, first, spread = import_metrics(CHOICES[3:])
    assert (last.name, first.name, spread.name) == ("right at 3", "first_right", "class number")
    assert isinstance(first, MetricDefinition)
    assert first.ranks == "R"
    assert isinstance(spread, ClassMetric)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outside_metrics:number", "is no metric; it must be a MetricDefinition"),
        ("outside_metrics:absent", "cannot be found"),
        ("no_such_module_at_all:x", "cannot be found"),
        (":x", "cannot be found"),
    ],
)
def test_what_is_no_metric_is_refused_before_a_folder_is_made(tiny, outside, tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        run(changed(tiny, metrics=(text,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (("ndcg",), "there is no metric 'ndcg'"),
        (("mrr", "mrr"), "two metrics are called MRR"),
        ("mrr", "is one text; give a list"),
        ((3,), "there is no metric 3"),
    ],
)
def test_unknown_metrics_are_refused_when_the_record_is_made(metrics, message):
    with pytest.raises(ValueError, match=message):
        EvaluationConfig(metrics=metrics)


def test_stored_settings_without_metrics_are_read():
    plain = to_plain(Experiment())
    del plain["evaluation"]["metrics"]
    from pairlens.core.records import from_plain

    assert from_plain(Experiment, plain) == Experiment()


def test_metrics_are_part_of_the_public_face():
    labels = torch.tensor([0, 0, 1, 1])
    assert pl.evaluate(torch.eye(4)[[0, 0, 1, 1]], labels, recalls=(1,), metrics=["mrr"])["MRR"] == 1.0
