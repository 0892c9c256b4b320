"""What was written with flat settings opens with nested ones: `tests/data_flat_settings/README.md` says what there is."""

import json
import shutil
from pathlib import Path

import pytest

import pairlens as pl
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.core.settings import flat_settings
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, MultiSimilarity, SoftTriple, Triplet
from support.commands import run

HERE = Path(__file__).parent
OLD_NAMES = {"backbone_type": "backbone", "gd_config": "descriptors", "feature_dim": "dim"}

pytestmark = pytest.mark.usefixtures("without_rendering")


@pytest.fixture(autouse=True)
def stored(tmp_path, monkeypatch):
    """A copy of the stored folder with its data set, as the working folder."""
    folder = tmp_path / "stored"
    shutil.copytree(HERE / "data_flat_settings", folder)
    shutil.copytree(HERE / "data_version_0_1" / "data", folder / "data")
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("folder", ["run", "interrupted", "comparison/runs/bars/circle-20/seed0"])
def test_every_flat_setting_has_its_value_in_the_nested_records(folder):
    flat = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    values = flat_settings(RunFolder(Path(folder)).experiment())
    for name, value in flat.items():
        if name not in ("type", "loss"):
            found = values[OLD_NAMES.get(name, name)]
            assert (list(found) if isinstance(found, tuple) else str(found) if name == "data_path" else found) == value


def test_losses_and_references_are_those_that_were_stored():
    assert RunFolder(Path("run")).experiment().loss == SoftTriple(centers=2)
    interrupted = RunFolder(Path("interrupted")).experiment()
    assert (interrupted.loss, interrupted.source) == (MultiSimilarity(), "memory")


def test_a_stored_run_answers_and_its_model_embeds(capsys):
    assert run("query", "run", "--retrieval_num", 2) == 0
    assert "correct" in capsys.readouterr().out
    gallery = pl.Gallery.open(Path("run"))
    photo = bytes(gallery.catalog.jpeg(0))
    assert pl.Embedder.load("run").embed(photo).shape == (16,)
    assert run("evaluate", "run") == 0
    assert run("report", "run") == 0


def test_an_interrupted_run_is_resumed_to_the_rows_of_an_uninterrupted_one():
    assert run("train", "--resume", "interrupted") == 0
    rows = json.loads(Path("interrupted/outcome.json").read_text(encoding="utf-8"))["rows"]
    whole = json.loads(Path("whole_rows.json").read_text(encoding="utf-8"))["rows"]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    # Another kind of processor rounds differently; on one machine the rows agree to the last bit.
    for row, expected in zip(rows[1:], whole[1:], strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
        assert row["mean_s_p"] == pytest.approx(expected["mean_s_p"], abs=1e-3)


def test_a_finished_comparison_stays_finished(capsys):
    study = read_study(Path("comparison"))
    assert [arm.make() for arm in study.arms[:2]] == [Triplet(margin=0.2), Circle(gamma=20.0)]
    assert read_toml(Path("study.toml")) == study
    assert run("compare", "--resume", "comparison") == 0
    assert "0 losses to tune, 0 runs to make" in capsys.readouterr().out
