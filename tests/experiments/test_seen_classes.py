"""Every figure, table and sentence about a run that is tested on classes seen in training says so."""

import re

import pytest

from conftest import drawn
from pairlens.data.annotations import Photo
from pairlens.data.catalog_writer import write_catalog
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.run_folder import RunFolder
from support.commands import QUICK, run

WORDS = "classes seen in training"


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """A data folder with `own`, four classes with training and test photos, under the name of the other tests' set."""
    folder = tmp_path_factory.mktemp("data")
    photos = [
        (Photo(f"bar{label}/{split}{shot}.jpg", f"bar {label}", split), label, shot)
        for split in ("train", "test")
        for label in range(4)
        for shot in range(6)
    ]
    rows = [(photo, drawn(label, shot, 36)) for photo, label, shot in photos]
    write_catalog(folder / "bars" / "uncropped.arrow", "bars", rows, 36)
    return folder


@pytest.fixture(scope="module")
def trained(own_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    options = [*QUICK, "--num_epochs", 2, "--select", "validation"]
    assert run("train", "circle", "--data_path", own_data, "--runs", runs, "--name", "own", *options) == 0
    return runs / "own"


def _check(text):
    """Assert that a text says what the classes are, and nowhere that they are unseen."""
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r'"data:[^"]*"', "", text)))
    # A terminal breaks a table's notes into lines with a frame.
    assert WORDS in plain
    assert not re.search(r"unseen|never seen", plain), re.findall(r".{60}(?:unseen|never seen).{60}", plain)


def test_the_records_hold_it(trained):
    outcome = RunFolder(trained).read_outcome()
    assert {row.report.seen_classes for row in outcome.rows} == {"all"}
    assert {row.validation.seen_classes for row in outcome.rows} == {"all"}
    assert outcome.selection.endswith("selected on held-out photos of training classes")
    assert evaluate_run(trained) == outcome.report


def test_the_announcement_and_the_table_of_a_training_say_it(own_data, tmp_path, capsys):
    run("train", "--data_path", own_data, "--runs", tmp_path, *QUICK, "--select", "validation")
    text = capsys.readouterr().out
    assert "training on 16 photos of 4 classes, 8 photos held out for validation" in text
    assert f"testing on 24 photos of 4 {WORDS}" in text
    assert f"24 queries of 4 {WORDS} against 24 photos" in text
    _check(text)


def test_evaluate_and_inspect_say_it(trained, tmp_path, capsys):
    assert run("evaluate", trained, "--device", "cpu") == 0
    _check(capsys.readouterr().out)
    assert run("inspect", trained, "--device", "cpu", "--out", tmp_path) == 0
    _check(capsys.readouterr().out)
    for drawing in ("similarities.svg", "analysis.svg"):
        assert "unseen" not in (tmp_path / drawing).read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_rendering")
def test_the_report_of_a_run_says_it(trained, tmp_path):
    assert run("report", trained, "--out", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    # The meaning of a statistic says what is good on seen and on unseen classes in general.
    _check(page.replace("Low is good for seen classes; unseen classes need some spread within classes.", ""))
    assert "best on held-out photos of training classes" in page


@pytest.mark.usefixtures("without_rendering")
def test_a_comparison_and_its_report_say_it(own_data, tmp_path, capsys):
    losses = ["--losses", "triplet", "circle", "--seeds", 2]
    assert run("compare", *losses, "--data_path", own_data, "--out", tmp_path / "c", *QUICK) == 0
    text = capsys.readouterr().out
    assert "The test classes were seen in training, with other photos." in re.sub(r"[\s│]+", " ", text)
    assert run("report", tmp_path / "c", "--out", tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    _check(page.replace("Low is good for seen classes; unseen classes need some spread within classes.", ""))
    assert f"24 queries of 4 {WORDS}" in page
