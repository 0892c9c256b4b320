"""What version 0.1.0 wrote opens with the code of today: `tests/data_version_0_1/README.md` says what there is."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import pairlens as pl
from pairlens.comparison.results import read_results
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.core.records import RENAMED
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, Margin
from pairlens.losses.loss_text import any_loss_from_text
from pairlens.losses.miners import SemiHard
from support.commands import run

STORED = Path(__file__).parent / "data_version_0_1"

pytestmark = pytest.mark.usefixtures("without_rendering")


@pytest.fixture(autouse=True)
def stored(tmp_path, monkeypatch):
    """A copy of the stored folder, as the working folder."""
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    monkeypatch.chdir(folder)


def rows_of(folder):
    """The rows of an outcome as they are stored, with the record names of today."""
    text = (Path(folder) / "outcome.json").read_text(encoding="utf-8")
    for old, new in RENAMED.items():
        text = text.replace(f'"type": "{old}"', f'"type": "{new}"')
    return json.loads(text)["rows"]


def test_a_stored_catalog_opens_with_its_photos():
    catalog = pl.Catalog.open("data/bars/uncropped.arrow")
    assert len(catalog.select("train")) == len(catalog.select("test")) == 16
    assert catalog.classes == 8
    assert bytes(catalog.jpeg(0)).startswith(b"\xff\xd8")


def test_a_stored_run_evaluates_to_the_stored_figures(capsys):
    known = rows_of("run")[2]["report"]["metrics"]
    place = RunFolder(Path("run"))
    assert place.experiment().loss == Circle(gamma=10.0)
    assert place.read_outcome().untrained.metrics[0].value == rows_of("run")[0]["report"]["metrics"][0]["value"]
    assert run("evaluate", "run") == 0
    assert f"R@1 {100 * known[0]['value']:.1f}" in capsys.readouterr().out.replace("  ", " ")


def test_a_stored_run_answers_a_query_from_its_stored_gallery(capsys):
    gallery = pl.Gallery.open(Path("run"))
    assert len(gallery.search(gallery.first_query(), 3)) == 3
    assert run("query", "run", "--retrieval_num", 2) == 0
    assert "correct" in capsys.readouterr().out


def test_a_stored_run_is_inspected_and_reported(capsys):
    assert run("inspect", "run") == 0
    assert run("report", "run") == 0
    assert "left out" not in capsys.readouterr().out
    assert "circle" in Path("run/report.html").read_text(encoding="utf-8")


def test_a_stored_checkpoint_is_resumed_and_its_epochs_kept():
    before = RunFolder(Path("interrupted")).read_outcome().rows
    experiment = RunFolder(Path("interrupted")).experiment()
    assert experiment.loss == Margin()
    assert experiment.miner == SemiHard(margin=0.1)
    assert run("train", "--resume", "interrupted") == 0
    after = RunFolder(Path("interrupted")).read_outcome().rows
    assert [row.epoch for row in after] == [0, 1, 2]
    assert after[:2] == before


def test_a_stored_comparison_is_seen_finished_and_reported(capsys):
    assert len(read_results(Path("comparison")).fields[0].losses) == 2
    assert run("compare", "--resume", "comparison") == 0
    said = capsys.readouterr().out
    assert "0 losses to tune, 0 runs to make" in said
    assert "Highest mean MAP@R on bars" in said
    assert run("report", "comparison") == 0


def test_a_stored_comparison_goes_on_with_losses_named_by_old_modules(capsys):
    for arm in read_study(Path("comparison")).arms:
        shutil.rmtree(f"comparison/runs/bars/{arm.name.replace(' ', '-')}")
    assert run("compare", "--resume", "comparison") == 0
    said = capsys.readouterr().out
    assert "0 losses to tune, 2 runs to make" in said
    assert "not counted" not in said


def test_a_stored_study_file_is_the_study_of_its_comparison():
    assert read_toml(Path("study.toml")) == read_study(Path("comparison"))


@pytest.mark.parametrize(
    "text", ["pairlens.analysis.control:no_loss", "pairlens.analysis.known_circles:circle_of_distances(gamma=20)"]
)
def test_a_loss_stored_by_its_old_module_is_found(text):
    embeddings, labels = torch.nn.functional.normalize(torch.randn(8, 4), dim=1), torch.arange(8) % 2
    value = any_loss_from_text(text)(embeddings, labels)
    assert bool(torch.isfinite(value))
