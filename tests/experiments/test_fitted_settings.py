import warnings

import pytest
import torch

import pairlens as pl
from conftest import drawn
from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.loader import BatchConfig
from pairlens.data.sampler import ClassBatches
from pairlens.experiments import fitted_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_backbone, fit_batches
from pairlens.experiments.run_folder import RunFolder
from support.commands import QUICK, run
from support.experiments import changed


class _Labels:
    """The part of a catalog that batches are fitted to."""

    file = "some.arrow"

    def __init__(self, *sizes):
        self.labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self.classes = len(sizes)


def _fit(sizes, given=(), **settings):
    experiment, line = fit_batches(changed(Experiment(), **settings), _Labels(*sizes), frozenset(given))
    return (experiment.batches.size, experiment.batches.per_class), line


@pytest.mark.parametrize(
    ("sizes", "expected", "words"),
    [
        ([9] * 6, (24, 4), "24 photos of 6 classes, because the data set has only 6 training classes"),
        ([9] * 31, (124, 4), "124 photos of 31 classes"),
        ([3, 1, 2], (9, 3), "9 photos of 3 classes"),
        ([1] * 5, (10, 2), "10 photos of 5 classes"),
        ([50, 1], (8, 4), "8 photos of 2 classes"),
    ],
)
def test_default_batches_are_fitted_to_few_classes(sizes, expected, words):
    batches, line = _fit(sizes)
    assert batches == expected
    assert line.startswith(words)
    ClassBatches(_Labels(*sizes).labels, *batches)


@pytest.mark.parametrize("sizes", [[4] * 32, [1] * 32, [2] * 500])
def test_a_data_set_that_fits_keeps_the_defaults(sizes):
    assert _fit(sizes) == ((128, 4), "")


def test_what_was_given_is_not_changed():
    assert _fit([9] * 6, given=["batch_size"]) == ((128, 4), "")
    assert _fit([9] * 6, batch_size=64) == ((64, 4), "")
    assert _fit([9] * 6, per_class=5)[0] == (30, 5)
    assert _fit([3] * 6, given=["per_class"])[0] == (24, 4)
    assert _fit([9] * 6, given=["learning_rate"])[0] == (24, 4)


def test_ranks_get_equal_shards_of_whole_classes(monkeypatch):
    monkeypatch.setattr(fitted_settings, "world_size", lambda: 3)
    batches, line = _fit([9] * 40)
    assert batches == (120, 4)
    assert line == "120 photos of 30 classes, because 3 ranks share a batch"
    assert _fit([9] * 7)[0] == (24, 4)
    # Two classes cannot be shared by three ranks, which the loader says.
    assert _fit([9] * 2) == ((128, 4), "")


def test_one_training_class_is_an_error():
    with pytest.raises(ValueError, match="only one training class"):
        _fit([30])


def test_the_first_run_of_a_small_data_set_trains_and_says_what_it_fitted(data_path, tmp_path, capsys):
    words = " ".join(QUICK).replace("--batch-size 12 --per_class 3", "").split()
    assert run("train", "--data_path", data_path, "--runs", tmp_path, "--name", "r", *words) == 0
    assert "batch   16 photos of 4 classes, because the data set has only 4 training classes" in capsys.readouterr().out
    assert RunFolder(tmp_path / "r").experiment().batches == BatchConfig(size=16, workers=0)
    assert run("train", "--resume", tmp_path / "r") == 0


@pytest.mark.parametrize("option", ["--batch_size 128", "--batch-size=128", "--batch_size 64"])
def test_a_batch_size_that_was_given_is_refused_in_one_sentence(data_path, tmp_path, capsys, option):
    words = " ".join(QUICK).replace("--batch-size 12 --per_class 3", option).split()
    assert run("train", "--data_path", data_path, "--runs", tmp_path, "--name", "r", *words) == 2
    assert "training classes, but there are 4; use --batch_size 16 or less" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_python_warns_of_fitted_batches_unless_it_watches(tiny, tmp_path):
    experiment = changed(tiny, batch_size=128, per_class=4, num_epochs=0)
    with pytest.warns(UserWarning, match="batches of 16 photos of 4 classes"):
        finished = pl.run(experiment, tmp_path / "a")
    assert finished.experiment.batches.size == 16
    events = []
    with warnings.catch_warnings(action="error"):
        pl.run(experiment, tmp_path / "b", watch=events.append)
    assert events[0].batches.startswith("16 photos of 4 classes")


def test_a_comparison_fits_batches_and_can_be_resumed(data_path, tmp_path, capsys):
    words = " ".join(QUICK).replace("--batch-size 12 --per_class 3", "").split()
    options = ["--losses", "triplet", "circle", "--seeds", 1, "--data_path", data_path, "--out", tmp_path / "c", *words]
    assert run("compare", *options) == 0
    assert "bars: batches of 16 photos of 4 classes" in capsys.readouterr().out
    assert run("compare", *options) == 0
    assert "0 runs to make" in capsys.readouterr().out


def test_test_photos_that_cannot_be_found_are_an_error_before_the_folder_is_made(tiny, tmp_path):
    photos = [Photo(f"{c}{i}.jpg", c, "train") for c in "abcd" for i in range(3)]
    photos += [Photo(f"{c}.jpg", c, "test") for c in "xyz"]
    rows = [(photo, drawn(0, i, 36)) for i, photo in enumerate(photos)]
    write_catalog(tmp_path / "data" / "lone" / "uncropped.arrow", "lone", rows, 36)
    with pytest.raises(ValueError, match="no query with another test photo of its class"):
        pl.run(changed(tiny, data_path=tmp_path / "data", data_name="lone"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.setattr(fitted_settings, "has_imagenet_weights", lambda name: False)
    monkeypatch.setattr(fitted_settings, "installed_offline_backbone", lambda: "efficientnet_lite0")


def test_the_default_backbone_is_one_whose_weights_are_here(unreachable):
    experiment, line = fit_backbone(Experiment(), frozenset({"dim"}))
    assert experiment == changed(Experiment(), backbone="efficientnet_lite0")
    assert line.startswith(
        "efficientnet_lite0 with the weights of its package, because the hub with those of resnet50 cannot"
    )


@pytest.mark.parametrize(
    ("settings", "given"),
    [({}, "backbone"), ({}, "backbone_type"), ({"backbone": "resnext50"}, ""), ({"weights": "none"}, "")],
)
def test_a_backbone_that_was_named_or_needs_no_hub_is_kept(unreachable, settings, given):
    experiment = changed(Experiment(), **settings)
    assert fit_backbone(experiment, frozenset({given})) == (experiment, "")


@pytest.mark.parametrize("here", [True, False])
def test_a_reachable_hub_or_a_missing_package_keeps_the_default(monkeypatch, here):
    monkeypatch.setattr(fitted_settings, "has_imagenet_weights", lambda name: here)
    monkeypatch.setattr(fitted_settings, "installed_offline_backbone", lambda: "efficientnet_lite0" if here else None)
    assert fit_backbone(Experiment(), frozenset()) == (Experiment(), "")


def test_train_says_which_backbone_it_takes_and_names_the_run_after_it(unreachable, data_path, tmp_path, capsys):
    words = " ".join(QUICK).replace("--backbone_type test_resnet", "").replace("--weights none", "").split()
    assert run("train", "--data_path", data_path, "--runs", tmp_path, *words, "--num_epochs", 0) == 0
    assert "backbone efficientnet_lite0 with the weights of its package" in capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    assert "efficientnet_lite0" in folder.name
    assert RunFolder(folder).experiment().model.backbone == "efficientnet_lite0"


def test_the_catalog_is_what_is_fitted_to(data_path):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("train")
    assert fit_batches(Experiment(), catalog)[0].batches.size == 16
