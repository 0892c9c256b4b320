"""Runs with losses of other projects: trained, opened without their code, and resumed with it."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import pairlens as pl
from pairlens.analysis.inspection import inspect_run
from pairlens.analysis.training_gain import paired_gain
from pairlens.experiments import run as running
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.run_folder import EpochRow, RunFolder
from pairlens.losses import Circle, Sum, Triplet
from pairlens.losses.third_party import StoredLoss, wrap_pairs
from pairlens.report.write import write_report
from support.commands import QUICK, run
from support.experiments import changed
from support.foreign_losses import Hinge, Spread, mean_negative

MODULE = "support.foreign_losses"


def interrupted(experiment, folder):
    """Train one epoch of a run and leave it."""
    run_folder = RunFolder(folder)
    for event in running.train(experiment, run_folder):
        if isinstance(event, EpochRow) and event.epoch == 1:
            break
    return run_folder


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished run whose loss is a record of another project."""
    return pl.run(changed(tiny, loss=Hinge(0.25)), tmp_path_factory.mktemp("runs") / "hinge")


def test_the_run_of_a_record_stores_its_name_and_fields(finished, tiny):
    stored = json.loads((finished.folder / "config.json").read_text(encoding="utf-8"))["loss"]
    assert stored == {
        "type": "StoredLoss",
        "name": f"{MODULE}:Hinge",
        "fields": {"margin": 0.25, "names": ["a", "b"]},
        "references": ["batch", "memory", "proxies"],
    }
    opened = RunFolder(finished.folder)
    assert opened.experiment().loss == StoredLoss(f"{MODULE}:Hinge", {"margin": 0.25, "names": ("a", "b")})
    assert opened.experiment(trust={MODULE}).loss == Hinge(0.25)
    assert opened.experiment(loss=Hinge(0.25)).loss == Hinge(0.25)
    assert opened.experiment().default_name == finished.experiment.default_name


@pytest.mark.usefixtures("without_rendering")
def test_everything_but_training_opens_the_run_without_the_code_of_its_loss(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE, None)  # an import of the module would raise ImportError
    folder = finished.folder
    assert evaluate_run(folder) == finished.report
    assert finished.model().fingerprint() == finished.model().fingerprint()
    gallery = pl.Gallery.open(folder)
    assert len(gallery.search(gallery.first_query(), 3)) == 3
    assert inspect_run(folder).unseen.hardest_1_percent is None
    assert paired_gain(RunFolder(folder).open(), "MAP@R") is not None
    file, missing = write_report(folder, tmp_path / "report.html")
    page = file.read_text(encoding="utf-8")
    assert not missing
    assert f"{MODULE}:Hinge(margin=0.25" in page
    assert "is not audited here" in page
    assert f"--trust {MODULE}" in page


@pytest.mark.usefixtures("without_rendering")
def test_the_report_draws_a_loss_whose_module_is_trusted(finished, tmp_path):
    assert run("report", finished.folder, "--out", tmp_path / "report.html", "--trust", MODULE) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Audit of {MODULE}:Hinge" in page
    assert "is not audited here" not in page


@pytest.mark.parametrize(
    "loss",
    [Spread(2.0), Sum((Circle(), Hinge(0.25), Spread()), (1, 0.5, 0.1)), Sum((Triplet(), Circle()), (1, 0.5))],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one(tiny, tmp_path, loss):
    experiment = changed(tiny, loss=loss)
    whole = pl.run(experiment, tmp_path / "whole")
    folder = interrupted(experiment, tmp_path / "parts").path
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    resumed = pl.resume_run(folder, trust={MODULE})
    assert resumed.report == pl.resume_run(copy, loss=loss).report == whole.report
    assert resumed.experiment.loss == loss
    assert RunFolder(folder).experiment(trust={MODULE}).loss == loss


def test_resuming_without_the_code_says_what_to_do(tiny, tmp_path, capsys):
    run_folder = interrupted(changed(tiny, loss=Hinge()), tmp_path / "parts")
    for options in ({}, {"trust": {"other"}}):
        with pytest.raises(ValueError, match=rf"{MODULE}:Hinge is not stored with its run.*--trust {MODULE}"):
            pl.resume_run(run_folder.path, **options)
    with pytest.raises(ValueError, match="the run was trained with"):
        pl.resume_run(run_folder.path, loss=Hinge(0.1))
    assert run("train", "--resume", run_folder.path) == 2
    assert f"--trust {MODULE}" in capsys.readouterr().err
    assert run("train", "--resume", run_folder.path, "--trust", MODULE) == 0


def test_a_function_of_pairs_is_trained_and_resumed_in_python(tiny, tmp_path):
    experiment = changed(tiny, loss=wrap_pairs(mean_negative, "mine"), references="memory", memory_size=24)
    whole = pl.run(experiment, tmp_path / "whole")
    run_folder = interrupted(experiment, tmp_path / "parts")
    with pytest.raises(ValueError, match="the function of the wrapped loss mine is not stored"):
        pl.resume_run(run_folder.path)
    assert pl.resume_run(run_folder.path, loss=wrap_pairs(mean_negative, "mine")).report == whole.report


@pytest.mark.usefixtures("without_rendering")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{MODULE}:Hinge(margin=0.25)", f"{MODULE}:Hinge"),
        (f"{MODULE}:mean_negative(power=3)", "power=3"),
        (f"{MODULE}:of_embeddings", "of_embeddings"),
        ("circle:gamma=64+0.5*triplet", "circle+0.5*triplet"),
    ],
)
def test_a_loss_is_typed_on_the_command_line(tiny, tmp_path, text, shown, capsys):
    options = [*QUICK, "--data_path", tiny.data.path, "--runs", tmp_path, "--name", "mine"]
    assert run("train", text, *options) == 0
    folder = tmp_path / "mine"
    assert run("report", folder) == 0
    assert shown in (folder / "report.html").read_text(encoding="utf-8")
    # Without the module's name nothing is imported; with it, or with the loss typed again, the run opens.
    capsys.readouterr()
    assert run("train", text, "--resume", folder) == 0
    assert run("train", "--resume", folder, "--trust", MODULE) == 0
    needs_trust = text.startswith(MODULE)
    assert run("train", "--resume", folder) == (2 if needs_trust else 0)


def test_the_page_of_a_run_shows_a_command_that_makes_it_again(tiny, tmp_path, capsys):
    options = [*QUICK, "--data_path", tiny.data.path, "--runs", tmp_path, "--name", "mine"]
    assert run("train", f"{MODULE}:Hinge(margin=0.25)", *options) == 0
    from pairlens.comparison.reproduce import train_command

    command = train_command(RunFolder(tmp_path / "mine").experiment(), tmp_path / "mine")
    assert command.startswith(f"pairlens train '{MODULE}:Hinge(margin=0.25, ")
    import shlex

    assert run(*shlex.split(command)[1:]) == 0
    again = RunFolder(tmp_path / "mine-again").experiment(trust={MODULE})
    assert again.loss == Hinge(0.25)


def test_older_spellings_are_subcommands_still(tiny, tmp_path):
    options = [*QUICK, "--data_path", tiny.data.path, "--runs", tmp_path, "--name", "mine"]
    assert run("train", *options, "multisimilarity", "--beta", "50") == 0
    assert RunFolder(Path(tmp_path / "mine")).experiment().loss == pl.losses.MultiSimilarity(beta=50)


def test_trust_without_resume_is_refused(tiny, capsys):
    assert run("train", *QUICK, "--data_path", tiny.data.path, "--trust", MODULE) == 2
    assert "--trust is for --resume" in capsys.readouterr().err
