import pytest
import torch
from PIL import Image

import pairlens as pl
from conftest import write_bars
from pairlens.collection.collection_model import run_model
from pairlens.comparison.reproduce import study_text
from pairlens.comparison.results import read_results
from pairlens.comparison.study_file import read_study
from pairlens.data.catalog import Catalog
from pairlens.data.data_config import DataConfig
from pairlens.evaluation.evaluate import evaluate
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.post_processed import PostProcessing, post_process_run
from pairlens.experiments.run import resume_run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.export.export_run import export_run
from pairlens.losses import Circle, ProxyAnchor
from pairlens.model import make_backbone
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.given_features import GivenFeatures
from pairlens.report import sections
from pairlens.report.write import write_report
from support.commands import run as command
from support.experiments import changed
from support.feature_tables import DIM, of_catalog, rows, write_features


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Experiment:
    """An experiment on a file of features."""
    file = write_features(tmp_path_factory.mktemp("given") / "birds.parquet", rows(note=[0] * 48))
    experiment = Experiment(Circle(gamma=16), DataConfig(name="features", source=file))
    numbers = {"descriptors": "S", "dim": 8, "batch_size": 12, "per_class": 3, "num_epochs": 3, "learning_rate": 1e-3}
    return changed(experiment, **numbers, device="cpu", precision="float32", workers=0)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return pl.run(settings, tmp_path_factory.mktemp("given_run") / "run")


def after_backbone(channels):
    """Given features behind the random numbers that the network of a run draws, so that the same heads follow."""
    Backbone("test_resnet", "none", "none", 32)
    return GivenFeatures(channels)


@pytest.mark.parametrize(("data_name", "loss"), [("bars", Circle()), ("shop", ProxyAnchor())])
def test_a_run_equals_that_on_a_frozen_backbone_with_the_same_features(tiny, tmp_path, monkeypatch, data_name, loss):
    write_bars(tmp_path / "bars" / "uncropped.arrow", size=32)
    write_bars(tmp_path / "shop" / "uncropped.arrow", ("train", "query", "gallery"), size=32)
    settings = {"data_path": tmp_path, "data_name": data_name, "loss": loss, "descriptors": "S", "dim": 8}
    frozen = changed(tiny, **settings, freeze="backbone", freeze_bn="statistics")
    cached = pl.run(frozen, tmp_path / "frozen")
    whole = Catalog.open(frozen.data.file)
    vectors = FrozenBackbone(frozen, cached.model(), open_splits(frozen).train).pooled(whole)[:, 0]
    file = write_features(tmp_path / "same.parquet", of_catalog(whole, vectors))
    monkeypatch.setattr(make_backbone, "GivenFeatures", after_backbone)
    as_given = {"data_name": "features", "source": str(file), "backbone": "features"}
    given = pl.run(changed(frozen, **as_given), tmp_path / "given")
    assert given.outcome.baseline.name == "given features"
    for report, other in zip(
        [given.outcome.baseline.report, *(row.report for row in given.outcome.rows)],
        [cached.outcome.baseline.report, *(row.report for row in cached.outcome.rows)],
        strict=True,
    ):
        for metric in report.metrics:
            assert metric.value == pytest.approx(other[metric.name], abs=1e-6)
    for row, other in zip(given.outcome.rows[1:], cached.outcome.rows[1:], strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-4)
    weights = cached.model().state_dict()
    heads = given.model().state_dict()
    assert heads.keys() == {name for name in weights if not name.startswith("backbone.")}
    for name, tensor in heads.items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-3, atol=2e-5)


def test_a_run_learns_and_can_be_evaluated_and_resumed(finished, settings, tmp_path):
    test = Catalog.open(settings.data.file).select("test")
    before, after = finished.outcome.baseline.report, finished.report
    assert before["R@1"] == pytest.approx(evaluate(test.vectors, test.labels)["R@1"])
    assert finished.outcome.rows[-1].train_loss < finished.outcome.rows[1].train_loss
    stored = RunFolder(finished.folder).read_embeddings().queries
    torch.testing.assert_close(finished.model().embed_features(test.vectors), stored.vectors)
    assert evaluate_run(finished.folder)["MAP@R"] == pytest.approx(after["MAP@R"])
    part = changed(settings, num_epochs=3)
    events = train(part, RunFolder(tmp_path / "part"))
    for event in events:
        if isinstance(event, EpochRow) and event.epoch == 2:
            break
    events.close()
    resumed = resume_run(tmp_path / "part")
    assert resumed.report == after
    whitened = post_process_run(finished.folder, PostProcessing(("whiten",), 4))
    assert whitened.report.queries == after.queries


def test_its_settings_follow_from_the_data_set(settings, finished):
    assert (settings.model.backbone, settings.weights, settings.objective.freeze) == ("features", "none", "backbone")
    assert settings.default_name.startswith("features-birds_uncropped_features_S_8_circle")
    opened = RunFolder(finished.folder).experiment()
    assert opened == settings
    assert finished.model().architecture.features == DIM
    with pytest.raises(ValueError, match="--views 2 needs photos"):
        changed(settings, views=2)
    with pytest.raises(ValueError, match="--backbone resnet18 sees photos"):
        changed(settings, backbone="resnet18")
    with pytest.raises(ValueError, match=r"needs the file of the features as --source FILE.parquet"):
        DataConfig(name="features")
    with pytest.raises(ValueError, match="--source is for --data_name collection or features, not for cub"):
        DataConfig(name="cub", source="x.parquet")
    shop = changed(Experiment(), data_name="collection", source="shop")
    with pytest.raises(ValueError, match="are prepared by pairlens train --data_name collection --source shop"):
        open_splits(shop)


def test_classes_that_are_in_both_splits_are_called_seen(settings, tmp_path):
    file = write_features(
        tmp_path / "seen.parquet", rows(split=["train", "train", "train", "test", "test", "test"] * 8)
    )
    run = pl.run(changed(settings, source=str(file), num_epochs=0), tmp_path / "run")
    assert run.report.seen_classes == "all"


def test_its_page_has_no_photos_unless_they_are_there(finished, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "PLANE_POINTS", 5)
    page, missing = write_report(finished.folder, tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert missing == ""
    assert "names no photos that are there, so none can be shown" in text
    assert "Where it goes wrong" not in text
    assert "given features" in text
    source = tmp_path / "shown.parquet"
    write_features(source, rows(path=[f"{n}.png" for n in range(48)]))
    for number in range(24, 48):
        Image.new("RGB", (20, 20), (number, 99, 0)).save(tmp_path / f"{number}.png")
    shown = pl.run(changed(settings, source=str(source), num_epochs=0), tmp_path / "shown")
    assert len(sections.model_sections(shown.folder, tmp_path / "figures", None).failures) == 3


def test_what_needs_photos_is_refused_in_one_sentence(finished, capsys):
    with pytest.raises(ValueError, match="cannot embed photos; compute their features"):
        finished.model().embed(torch.zeros(3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=f"embeds vectors of {DIM} values, not vectors of 3 values"):
        finished.model().embed_features(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no collection can speak it"):
        run_model(finished.folder)
    with pytest.raises(ValueError, match="an exported model takes photos"):
        export_run(finished.folder)
    assert command("query", finished.folder) == 2
    assert "was trained on given features and cannot embed a photo" in " ".join(capsys.readouterr().err.split())
    photos = Embedder(backbone="test_resnet", descriptors="S", dim=8, weights="none", image_size=32)
    with pytest.raises(ValueError, match="this model embeds photos, which `embed` takes, not vectors of 3 values"):
        photos.embed_features(torch.zeros(2, 3))


def test_the_commands_train_and_compare_on_it(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_features(tmp_path / "f.parquet", rows(note=[0] * 48))
    words = ["--data_name", "features", "--source", "f.parquet", "--dim", 8, "--num_epochs", 1]
    assert command("train", "circle", *words, "--name", "mine") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "columns of f.parquet that are not read: note" in out or "not read: note" in out
    assert "parameters after the given features" in out
    assert "look up a photo" not in out
    stored = (tmp_path / "runs" / "mine" / "config.json").read_text(encoding="utf-8")
    assert '"source": "../../f.parquet"' in stored
    study = tmp_path / "study.toml"
    study.write_text(
        'losses = ["triplet", "circle"]\nseeds = 1\npost = ["whiten"]\n[settings]\ndata_name = "features"\n'
        'source = "f.parquet"\ndim = 8\ndescriptors = "S"\nnum_epochs = 1\n',
        encoding="utf-8",
    )
    assert command("compare", "study.toml") == 0
    (result,) = read_results(tmp_path / "runs" / "study").fields
    test = Catalog.open(source).select("test")
    by_name = {baseline.name: baseline.metrics for baseline in result.baseline_results}
    assert by_name["given features"]["R@1"].mean == pytest.approx(evaluate(test.vectors, test.labels)["R@1"])
    assert "given features, whiten" in by_name
    assert 'source = "f.parquet"' in study_text(read_study(tmp_path / "runs" / "study"))
