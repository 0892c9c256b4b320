"""The three historical commands: their options, defaults and files."""

import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pairlens.cli import legacy
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, SoftTriple, Triplet

QUICK = (
    "--backbone_type test_resnet --batch_size 12 --per_class 3 --num_epochs 1 --weights none --stride none "
    "--freeze_bn none --image_size 32 --device cpu --workers 0"
).split()


def parse(line):
    return legacy.parse_training(line.split())


def test_the_defaults_are_those_of_history():
    experiment = parse("").experiment
    assert experiment.data.path == Path("/home/data")
    assert (experiment.data.name, experiment.data.crop) == ("car", "uncropped")
    assert (experiment.model.backbone, experiment.model.descriptors, experiment.model.dim) == ("resnet50", "SG", 1536)
    assert (experiment.objective.smoothing, experiment.objective.temperature) == (0.1, 0.5)
    assert (experiment.evaluation.recalls, experiment.batches.size, experiment.run.epochs) == ((1, 2, 4, 8), 128, 20)
    assert experiment.loss == Triplet(margin=0.1)
    assert (experiment.model.stride, experiment.objective.freeze_bn, experiment.batches.per_class) == (
        "port",
        "statistics",
        4,
    )
    assert (experiment.optimizer.learning_rate, experiment.weights, experiment.model.image_size) == (
        1e-4,
        "imagenet",
        224,
    )


def test_the_command_of_the_readme_parses_word_for_word():
    experiment = parse("--feature_dim 512 --gd_config SM").experiment
    assert (experiment.model.dim, experiment.model.descriptors) == (512, "SM")


def test_every_historical_option_arrives():
    line = (
        "--data_path /d --data_name cub --crop_type cropped --backbone_type resnext50 --gd_config MSG --feature_dim 513 "
        "--smoothing 0.2 --temperature 0.7 --margin 0.3 --recalls 1,10,100 --batch_size 64 --num_epochs 3 "
        "--loss_name circle --gamma 64"
    )
    experiment = parse(line).experiment
    assert experiment.loss == Circle(margin=0.3, gamma=64)
    assert (experiment.data.path, experiment.data.name, experiment.data.crop) == (Path("/d"), "cub", "cropped")
    assert (experiment.model.backbone, experiment.model.descriptors, experiment.model.dim) == ("resnext50", "MSG", 513)
    assert (experiment.objective.smoothing, experiment.objective.temperature) == (0.2, 0.7)
    assert (experiment.evaluation.recalls, experiment.batches.size, experiment.run.epochs) == ((1, 10, 100), 64, 3)


@pytest.mark.parametrize("config", ["S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM"])
def test_every_historical_descriptor_configuration_is_accepted(config):
    assert parse(f"--gd_config {config}").experiment.model.descriptors == config


def test_loss_names():
    assert parse("--loss_name circle").experiment.loss == Circle(margin=0.1, gamma=10)
    assert parse("--loss_name softtriple").experiment.loss == SoftTriple()


def test_the_run_is_called_as_history_called_it():
    assert f"{parse('').run_name}_data_base.pth" == legacy.DATA_BASE
    names = {parse(f"--loss_name {name}").run_name for name in ("triplet", "circle", "softtriple")}
    assert len(names) == 3
    assert parse("--seed 1").run_name != parse("").run_name


def test_train_then_test_by_default_and_by_name(data_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = [
        *["--data_name", "bars", "--feature_dim", "512", "--gd_config", "SM", "--data_path"],
        str(data_path),
        *QUICK,
    ]
    legacy.train(line)
    run = tmp_path / "runs" / "bars_uncropped_test_resnet_SM_512_0.1_0.5_0.1_12"
    assert RunFolder(run).read_outcome().epoch == 1
    capsys.readouterr()
    legacy.look_up(["--retrieval_num", "10"])
    printed = capsys.readouterr().out
    assert "using the newest run" in printed
    assert "searching for the first test photo" in printed
    assert len(list((tmp_path / "results").glob("*/retrieval_img_*"))) == 10
    legacy.look_up(["--data_base", f"{run.name}_data_base.pth", "--query_img_name", "test/bar6/test3.jpg"])
    assert len(list((tmp_path / "results" / "test_bar6_test3").glob("retrieval_img_*"))) == 8


def test_a_data_base_that_is_not_there_names_those_that_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        legacy.look_up(["--data_base", "other_data_base.pth"])
    assert stop.value.code == 2
    assert "no data base other" in capsys.readouterr().err


def test_data_utils_prepares_all_it_finds_car_and_cub_both_ways(shared, tmp_path, capsys):
    with tarfile.open(shared / "annotations.tar.gz") as archive:
        archive.extractall(tmp_path / "raw", filter="data")
    raw, data = tmp_path / "raw" / "annotations", tmp_path / "data"
    stand_in_cub(raw / "CUB_200_2011", data / "cub")
    legacy.prepare(["--data_path", str(data)])
    assert {file.name for file in (data / "cub").glob("*.arrow")} == {"uncropped.arrow", "cropped.arrow"}
    assert "photos of 4 classes" in capsys.readouterr().out


def stand_in_cub(source, target):
    """Eight photos of four real species, two of either half, with their real rows of every annotation file."""
    rows = [line.split() for line in (source / "images.txt").read_text(encoding="utf-8").splitlines()]
    chosen = [r for name in ("001.", "100.", "101.", "200.") for r in [r for r in rows if r[1].startswith(name)][:2]]
    numbers = {r[0] for r in chosen}
    for name in ("images.txt", "image_class_labels.txt", "bounding_boxes.txt", "train_test_split.txt"):
        kept = [ln for ln in (source / name).read_text(encoding="utf-8").splitlines() if ln.split()[0] in numbers]
        target.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("\n".join(kept) + "\n", encoding="utf-8")
    (target / "classes.txt").write_text((source / "classes.txt").read_text(encoding="utf-8"), encoding="utf-8")
    for _, path in chosen:
        (target / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (500, 500), (100, 120, 90)).save(target / "images" / path)


def test_data_utils_without_data_says_where_it_looked(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        legacy.prepare(["--data_path", str(tmp_path)])
    assert stop.value.code == 2
    assert "car/cars_annos.mat" in capsys.readouterr().err
