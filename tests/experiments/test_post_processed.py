import pytest
import torch

import pairlens as pl
from pairlens.core.similarity import unit
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.evaluate import evaluate
from pairlens.experiments.post_processed import PostProcessing, compare_values, post_process_run
from pairlens.experiments.run_folder import RunFolder
from support.commands import run as command
from support.experiments import changed


@pytest.fixture(scope="module")
def finished(tiny_with_own_data, tmp_path_factory):
    settings = changed(tiny_with_own_data, num_epochs=0, freeze="backbone", freeze_bn="statistics")
    return pl.run(settings, tmp_path_factory.mktemp("post") / "run")


def test_whitening_is_fitted_on_training_photos_alone(finished):
    opened = RunFolder(finished.folder).open()
    train = embed(finished.model(), opened.splits.train, workers=0).vectors.double()
    test = opened.run_folder.read_embeddings().queries
    centred = train - train.mean(dim=0)
    _left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
    whitened = (test.vectors.double() - train.mean(dim=0)) @ right[:5].T / sizes[:5]
    expected = evaluate(unit(whitened.float()), test.labels, recalls=(1, 2, 4, 8))
    found = post_process_run(finished.folder, PostProcessing(("whiten",), 5))
    assert found.name == "5 dimensions + whiten"
    for metric in expected.metrics:
        assert found.report[metric.name] == pytest.approx(metric.value, abs=1e-6)


def test_a_change_is_the_difference_of_both_reports_and_lies_in_its_interval(finished):
    before = RunFolder(finished.folder).read_embeddings().evaluate((1, 2, 4, 8))
    found = post_process_run(finished.folder, PostProcessing(("rerank", "aqe")))
    assert found.name == "aqe + rerank"
    for change in found.changes:
        assert change.value == pytest.approx(found.report[change.metric] - before[change.metric], abs=1e-6)
        assert change.low <= change.value + 1e-9
        assert change.high >= change.value - 1e-9


def test_nothing_changes_where_nothing_is_done(finished):
    values = RunFolder(finished.folder).read_embeddings().measure((1,))
    assert {(c.value, c.low, c.high) for c in compare_values(values, values)} == {(0.0, 0.0, 0.0)}
    with pytest.raises(ValueError, match="needs a step"):
        post_process_run(finished.folder, PostProcessing())


def test_the_command_prints_the_gain_with_its_interval(finished, capsys):
    assert command("evaluate", finished.folder, "--post", "whiten", "aqe", "--reduce", 4) == 0
    out = capsys.readouterr().out
    assert "4 dimensions + whiten + aqe" in out
    assert "against the same embeddings without it: R@1 " in " ".join(out.split())
    assert command("evaluate", finished.folder, "--reduce", 4000) == 2
    assert "--reduce 4000 is not possible" in " ".join(capsys.readouterr().err.split())
