from types import SimpleNamespace

import numpy as np
import pytest

from pairlens.comparison.predictors import MeasuredRun, _measurements, _prediction, predictions_of
from pairlens.comparison.statistics import measure
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_plan import Plan
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.geometry import effective_rank
from support.naive import study_findings as naive


def runs_of(values):
    """Runs from {loss: [(training loss, test metric)]}."""
    row = lambda train_loss: SimpleNamespace(train_loss=train_loss)  # noqa: E731
    return [MeasuredRun(loss, value, row(x), None, (0.0, 0.0)) for loss, found in values.items() for x, value in found]


def predict(values):
    return _prediction("birds", "training loss", "training photos", lambda run: run.row.train_loss, runs_of(values))


def test_the_correlation_is_over_all_runs_and_within_each_loss():
    rng = np.random.default_rng(0)
    # Losses with a larger training loss are better; within a loss, seeds with a larger one are worse.
    values = {f"loss {n}": [(10 * n + x, 0.1 * n - 0.01 * x) for x in rng.permutation(4).tolist()] for n in range(6)}
    found = predict(values)
    flat = [pair for pairs in values.values() for pair in pairs]
    assert found.over_runs.value == pytest.approx(naive.spearman(*map(list, zip(*flat, strict=True))))
    assert found.over_runs.low > 0.7
    assert found.within_losses.value == pytest.approx(-1)
    assert (found.runs, found.losses) == (24, 6)


def test_degenerate_measurements_have_no_correlation():
    assert predict({"a": [(1.0, 0.1), (1.0, 0.2), (1.0, 0.3)]}) is None
    assert predict({"a": [(1.0, 0.1), (None, 0.2), (3.0, 0.3)]}) is None
    assert predict({"a": [(1.0, 0.1), (2.0, 0.2)]}) is None
    constant = predict({"a": [(1.0, 0.1)] * 3, "b": [(2.0, 0.2)] * 3})
    assert constant.within_losses is None
    assert constant.over_runs.low is None
    assert predict({"a": [(1.0, 0.1), (2.0, 0.2)], "b": [(3.0, 0.3)]}).within_losses is None


def test_what_needs_the_test_classes_is_no_predictor():
    sources = {name: source for name, source, _ in _measurements("MAP@R")}
    with_classes = {name for name, source in sources.items() if source == "test classes"}
    assert with_classes == {"mean s_p, test photos", "mean s_n, test photos", "s_p - s_n, test photos"}


def test_real_runs_are_measured(compared):
    plan = Plan(read_study(compared), compared)
    results = measure(compared)
    found = {one.measurement: one for one in results.findings.predictions}
    assert {"training loss of the last epoch", "effective rank, training photos", "effective rank, test photos"} < set(
        found
    )
    # Nothing was tuned, and nothing held out.
    assert not any("folds" in name or "held-out" in name for name in found)
    (benchmark,), (result,) = plan.study.fields, results.fields
    ranks, values = [], []
    for loss in result.losses:
        for run, value in zip(loss.runs, loss.metric("MAP@R").over_seeds.values, strict=True):
            ranks.append(effective_rank(Embeddings.load(compared / run / "gallery.safetensors").vectors))
            values.append(value)
    assert found["effective rank, test photos"].over_runs.value == pytest.approx(naive.spearman(ranks, values))
    assert predictions_of(plan, benchmark, result) == results.findings.predictions
