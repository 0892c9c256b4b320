import csv

import pytest

import pairlens as pl
from pairlens.analysis.pair_weights import ProbeBatch
from support.commands import run


def test_losses_are_explained_as_records_and_nothing_is_printed_or_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explanation = pl.explain([pl.losses.Circle(gamma=32), "triplet"], points=5)
    assert [(one.name, one.settings) for one in explanation.losses] == [
        ("Circle", "margin 0.4, gamma 32"),
        ("Triplet", "margin 0.1, measure distance, soft False"),
    ]
    assert explanation.losses[0].plane.value.shape == (5, 5)
    assert explanation.files == ()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_one_loss_needs_no_list_and_the_batch_of_the_weights_can_be_set():
    usual, other = (pl.explain("circle", batch=ProbeBatch(*size), points=3).losses[0] for size in ((8, 4), (2, 2)))
    assert (usual.curves[0.0].positive != other.curves[0.0].positive).any()


@pytest.mark.usefixtures("without_rendering")
def test_the_command_writes_what_the_function_writes(tmp_path, capsys):
    explanation = pl.explain([pl.losses.Circle(), pl.losses.Triplet()], tmp_path / "new" / "python")
    assert capsys.readouterr().out == ""
    assert run("explain", "circle", "--compare", "triplet", "--out", tmp_path / "command") == 0
    names = [file.name for file in explanation.files]
    assert names == ["explain.svg", "explain.png", "plane.csv", "paths.csv", "weights.csv"]
    for name in names[2:]:
        text = (tmp_path / "new" / "python" / name).read_text(encoding="utf-8")
        assert text == (tmp_path / "command" / name).read_text(encoding="utf-8")
        assert {row["loss_name"] for row in csv.DictReader(text.splitlines())} == {"Circle", "Triplet"}


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "there is no loss to explain"),
        ("nonsense", "there is no loss nonsense"),
        ([pl.losses.Circle], "Circle is not a loss of pairs"),
        (pl.wrap(lambda embeddings, labels: embeddings.sum(), "mine"), "Wrapped is not a loss of pairs"),
        (len, "len is not a loss of pairs"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(losses, message):
    with pytest.raises(ValueError, match=message):
        pl.explain(losses)
