"""The commands from the argument list down."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from pairlens.cli.main import COMMANDS
from pairlens.core.settings import settings_of
from pairlens.data.annotations import Photo
from pairlens.data.catalog_writer import write_catalog
from pairlens.evaluation import open_set
from pairlens.experiments.build import make_criterion
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import RECIPES, find_recipe
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, Loss, ProxyAnchor, SoftTriple, Triplet
from pairlens.losses.loss_text import command_name
from pairlens.losses.miners import SemiHard
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies
from support.commands import QUICK, run


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert run("train", "circle", "--gamma", 10, "--data_path", data_path, "--runs", runs, "--name", "c", *QUICK) == 0
    return runs / "c"


def test_train_takes_the_loss_with_its_options_anywhere(trained):
    experiment = RunFolder(trained).experiment()
    assert experiment.loss == Circle(margin=0.4, gamma=10)
    assert experiment.model.descriptors == "SM"
    assert (trained / "statistics.csv").is_file()


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        ([], Triplet()),
        (["triplet", "--margin", "0.3"], Triplet(0.3)),
        (["softtriple", "--tau", "0"], SoftTriple(tau=0)),
    ],
)
def test_every_loss_can_be_chosen(data_path, tmp_path, words, loss):
    run_folder = RunFolder(tmp_path / "r")
    quick = [*QUICK, "--num_epochs", 0]
    assert run("train", *words, "--data_path", data_path, "--runs", tmp_path, "--name", "r", *quick) == 0
    assert run_folder.experiment().loss == loss


def test_train_prints_costs_data_and_loss_first(data_path, tmp_path, capsys):
    run("train", "--data_path", data_path, "--runs", tmp_path, *QUICK, "--freeze_bn", "statistics")
    text = capsys.readouterr().out
    assert "M parameters" in text
    assert "GMACs" in text
    assert "training on 24 photos of 4 classes" in text
    assert "Triplet(margin=0.1, measure='distance', soft=False) on the batch" in text
    assert "from scratch --freeze_bn none learns better" in text
    assert "R@1" in text


def test_recalls_are_written_as_history_does(data_path, tmp_path):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "r", "--recalls", "1,10", *QUICK]
    assert run("train", *words) == 0
    assert RunFolder(tmp_path / "r").experiment().evaluation.recalls == (1, 10)


def test_photos_that_would_be_enlarged_are_noted(data_path, tmp_path, capsys):
    words = ["--data_path", data_path, "--runs", tmp_path, *QUICK, "--num_epochs", 0, "--image_size", 64]
    assert run("train", *words) == 0
    assert "prepare them with --size 72" in capsys.readouterr().out


def test_a_damaged_photo_met_by_a_loading_process_is_one_sentence(tmp_path, capsys):
    rows = [(Photo(f"{k}{i}", k, "train" if k in "ab" else "test"), b"no JPEG") for k in "abcd" for i in range(3)]
    write_catalog(tmp_path / "bad" / "uncropped.arrow", "bad", rows, 36)
    words = ["--data_path", tmp_path, "--runs", tmp_path / "r", *QUICK, "--data_name", "bad", "--workers", 2]
    assert run("train", *words, "--batch_size", 6) == 2
    error = capsys.readouterr().err
    assert error.startswith("pairlens: the picture of ")
    assert "Traceback" not in error


def test_a_second_run_into_the_same_folder_is_refused(trained, data_path, capsys):
    before = (trained / "outcome.json").read_bytes()
    assert run("train", "--data_path", data_path, "--runs", trained.parent, "--name", "c", *QUICK) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert (trained / "outcome.json").read_bytes() == before


def test_resume_of_a_finished_run_changes_nothing(trained, capsys):
    before = (trained / "model.safetensors").read_bytes()
    assert run("train", "--resume", trained) == 0
    assert "R@1" in capsys.readouterr().out
    assert (trained / "model.safetensors").read_bytes() == before


def test_evaluate_says_what_training_said(trained, capsys):
    assert run("evaluate", trained, "--recalls", "1,3") == 0
    text = capsys.readouterr().out
    value = RunFolder(trained).read_outcome().report["R@1"]
    assert f"R@1 {100 * value:.2f} %" in text
    assert "P@3" in text
    assert "last epoch (1)" in " ".join(text.split())
    assert re.search(r"open set: AUROC .* ± .*, BAKS .*, BAUS .*, OPIS .* of 20 divisions of 4 classes", text)


def test_evaluate_says_why_there_are_no_open_set_measures(trained, monkeypatch, capsys):
    monkeypatch.setattr(open_set, "LEAST_CLASSES", 5)
    assert run("evaluate", trained) == 0
    assert "note    no open-set measures: they need 4 test classes with 2 photos or more" in capsys.readouterr().out


def test_an_approximate_search_says_what_it_misses(trained, tmp_path, capsys):
    for words in (("evaluate", trained), ("query", trained, "--out", tmp_path)):
        for index in ("ivf", "hnsw"):
            assert run(*words, "--index", index) == 0
            text = " ".join(capsys.readouterr().out.split())
            assert f"approximate search, {index.capitalize()}" in text
            assert "100.00 % of the 8 nearest" in text
        assert run(*words) == 0
        assert "approximate search" not in capsys.readouterr().out


def test_query_with_any_picture_writes_pictures(trained, tmp_path, capsys):
    Image.new("RGB", (300, 200), (90, 120, 40)).save(tmp_path / "mine.webp")
    words = ["--query_img_name", tmp_path / "mine.webp", "--retrieval_num", 3, "--out", tmp_path / "out"]
    assert run("query", trained, *words) == 0
    files = sorted(f.name for f in (tmp_path / "out" / "mine").iterdir())
    assert len(files) == 5
    assert "class unknown" in capsys.readouterr().out


def test_query_without_a_picture_takes_a_test_photo(trained, tmp_path, capsys):
    assert run("query", trained, "--out", tmp_path) == 0
    assert "(bar 4)" in capsys.readouterr().out


def test_profile_prints_the_published_costs(capsys):
    assert run("profile") == 0
    assert "26.86M parameters, 10.60 GMACs" in capsys.readouterr().out


def test_prepare_and_train_on_own_photos(tmp_path, capsys):
    for name in "abcd":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for shot in range(3):
            Image.new("RGB", (20, 20), (60 * shot, ord(name), 0)).save(tmp_path / "photos" / name / f"{shot}.png")
    source, out = tmp_path / "photos", tmp_path / "data"
    assert run("prepare", "--data_name", "folder", "--source", source, "--data_path", out, "--size", 36) == 0
    words = [
        "train",
        "--data_path",
        out,
        "--runs",
        tmp_path / "runs",
        *QUICK,
        "--data_name",
        "folder",
        "--batch_size",
        6,
    ]
    assert run(*words) == 0
    assert "training on 6 photos of 2 classes" in capsys.readouterr().out


WRONG = [
    (["train", "--data_name", "cub", "--data_path", "nowhere"], "pairlens prepare --data_name cub --data_path"),
    (["train", "--data_name", "cub", "--feature_dim", "8", "--data_path", "nowhere"], "pairlens prepare"),
    (["train", "--gd_config", "XX"], "--descriptors 'XX'"),
    (["train", "--recalls", "1,zwei"], "recalls"),
    (["train", "--resume", "nowhere"], "not the folder of a run"),
    (["train", "--resume", "nowhere", "--num_epochs", "5"], "give no others beside it"),
    (["train", "--recalls", "8,1"], "increasing ranks"),
    (["train", "--recalls", "1,99999999999999999999"], "increasing ranks"),
    (["train", "--warm_up", "99999999999999999999"], "warm_up"),
    (["train", "softtriple", "--centers", "0"], "centers 0"),
    (["train", "circle", "--gamma", "nan"], "gamma nan"),
    (["train", "triplet", "--margin", "-3"], "margin -3"),
    (["evaluate", "nowhere"], "not the folder of a run"),
    (["query", "nowhere"], "not the folder of a run"),
    (["profile", "--feature_dim", "511"], "divisible by the 2 descriptors"),
    (["profile", "--backbone_type", "resnet51"], "not a timm model"),
    (["prepare", "--data_name", "car", "--data_path", "nowhere"], "cars_annos.mat"),
    (["train", "--learning_rat", "1"], "learning"),
    (["fly"], "fly"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else value[0])
def test_wrong_input_is_a_sentence_and_status_2(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert message in " ".join((printed.err + printed.out).split())
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_says_how_to_go_on(data_path, tmp_path, capsys, monkeypatch):
    from pairlens.training import fit

    def interrupted(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "training_step", interrupted)
    assert run("train", "--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK) == 130
    assert f"pairlens train --resume {tmp_path / 'r'}" in capsys.readouterr().err
    monkeypatch.undo()
    assert run("train", "--resume", tmp_path / "r") == 0
    assert len(RunFolder(tmp_path / "r").read_outcome().rows) == 2


def test_the_installed_command_starts():
    command = Path(sys.executable).parent / "pairlens"
    done = subprocess.run([command, "--help"], capture_output=True, encoding="utf-8", check=True)
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["triplet", "--references", "memory", "--memory_size", 40], CrossBatchMemory),
        (["circle", "--references", "proxies"], Proxies),
        (["proxyanchor"], Proxies),
        (["multisimilarity"], InBatch),
        (["margin", "--miner", "distance_weighted"], InBatch),
        (["softtriple", "--centers", 2], Proxies),
        (["npair"], InBatch),
    ],
)
def test_any_combination_that_makes_sense_trains(data_path, tmp_path, words, expected):
    assert run("train", *words, "--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK) == 0
    experiment = RunFolder(tmp_path / "r").experiment()
    assert type(make_criterion(experiment, 4).references) is expected
    assert (tmp_path / "r" / "statistics.csv").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["angular", "--references", "memory"], "--references memory cannot be used with angular"),
        (["proxyanchor", "--references", "batch"], "--references batch cannot be used with proxy_anchor"),
        (["npair", "--references", "proxies"], "--references proxies cannot be used with n_pair"),
        (["triplet", "--references", "memory", "--memory_size", 4], "--memory_size 4 does not hold a batch of 12"),
        (["circle", "--references", "proxies", "--miner", "hardest"], "a miner selects pairs of photos"),
        (["npair", "--miner", "hardest"], "a miner selects pairs of photos"),
        (["circle", "--recipe", "nothing"], "there is no recipe 'nothing'; available are triplet_cgd_car"),
    ],
)
def test_any_combination_that_does_not_is_one_sentence(data_path, tmp_path, capsys, words, sentence):
    assert run("train", *words, "--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK) == 2
    error = capsys.readouterr().err
    assert sentence in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "r").exists()


def test_a_miner_takes_its_settings_and_a_wrong_one_is_named(data_path, tmp_path, capsys):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK, "--num_epochs", 0]
    assert run("train", "--miner", "semi_hard:margin=0.3", *words) == 0
    assert RunFolder(tmp_path / "r").experiment().miner == SemiHard(0.3)
    assert run("train", "--miner", "semi_hart", *words) == 2
    assert "there is no miner semi_hart" in capsys.readouterr().err
    assert run("train", "--miner", "semi_hard:width=1", *words) == 2
    assert "unknown key 'width'" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--recipe", "proxy_anchor_cub"], ["--recipe=proxy_anchor_cub"]])
def test_a_recipe_decides_what_is_not_given(data_path, tmp_path, flag):
    words = ["--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK, "--alpha", 16]
    assert run("train", *flag, *words) == 0
    experiment = RunFolder(tmp_path / "r").experiment()
    recipe = find_recipe("proxy_anchor_cub").experiment
    assert experiment.loss == ProxyAnchor(alpha=16)
    assert (experiment.optimizer.name, experiment.objective.clip_value, experiment.objective.warm_up) == (
        "adamw",
        10.0,
        5,
    )
    assert experiment.optimizer.proxy_learning_rate == recipe.optimizer.proxy_learning_rate
    assert (experiment.batches.size, experiment.data.name) == (12, "bars")


def test_losses_and_recipes_are_printed_in_full(capsys):
    assert run("losses") == 0
    text = "".join(capsys.readouterr().out.split())
    assert all(command_name(kind) in text for kind in get_args(Loss))
    assert run("recipes") == 0
    text = capsys.readouterr().out
    assert all(f"{recipe.name}\n  from: {recipe.source}" in text for recipe in RECIPES)
    assert run("recipes", "margin_cub") == 0
    text = capsys.readouterr().out
    assert "miner=DistanceWeighted(dim=512, cutoff=0.5, limit=1.4)" in " ".join(text.split())
    assert all(f"{setting.name}=" in text for setting in settings_of(Experiment).values())


def test_explain_draws_several_losses_and_writes_their_numbers(tmp_path, capsys):
    assert run("explain", "circle:margin=0.25,gamma=32", "--compare", "triplet", "--out", tmp_path / "e") == 0
    assert {file.name for file in (tmp_path / "e").iterdir()} == {
        "explain.svg",
        "explain.png",
        "plane.csv",
        "paths.csv",
        "weights.csv",
    }
    with (tmp_path / "e" / "plane.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["loss_name"] for row in rows} == {"Circle", "Triplet"}
    assert len(rows) == 2 * 41 * 41


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "explain needs a loss"),
        (["cirle"], "there is no loss cirle; did you mean circle?"),
        (["circle:gama=3"], "the loss circle has an unknown key 'gama'; did you mean gamma?"),
        (["circle", "--per_class", 1], "--classes and --per_class must be 2 or more"),
    ],
)
def test_what_explain_cannot_draw_is_one_sentence(tmp_path, capsys, words, sentence):
    assert run("explain", *words, "--out", tmp_path / "e") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_audit_prints_a_verdict_a_line_and_ends_with_1_if_one_fails(capsys):
    assert run("audit", "circle", "--against", "pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80)") == 0
    text = capsys.readouterr().out
    assert "circle loss as its paper defines it" in text
    assert run("audit", "support.naive.circles:pooled_of_cosines", "--against", "circle") == 2
    assert "cannot be found" in capsys.readouterr().err
    assert run("audit", "triplet:margin=0.2", "--against", "circle") == 1
    assert "against the reference" in capsys.readouterr().out


def test_inspect_shows_and_writes_the_shape_of_a_model(trained, data_path, tmp_path, capsys):
    assert run("inspect", trained, "--data_path", data_path, "--device", "cpu", "--out", tmp_path / "i") == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("seen classes", "unseen classes", "effective rank", "hubness", "BAKS", "OPIS"))
    written = {file.name for file in (tmp_path / "i").iterdir()}
    assert {"inspection.csv", "similarities.csv", "similarities.svg", "map.png", "worst_queries.png"} <= written
    assert run("inspect", tmp_path) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_resume_takes_what_does_not_change_the_past(data_path, tmp_path, capsys):
    assert run("train", "--data_path", data_path, "--runs", tmp_path, "--name", "r", *QUICK, "--num_epochs", 0) == 0
    assert run("train", "--resume", tmp_path / "r", "--on_nan", "skip", "--checkpoint_minutes", 2) == 0
    experiment = RunFolder(tmp_path / "r").experiment()
    assert (experiment.objective.on_nan, experiment.run.checkpoint_minutes) == ("skip", 2)
    assert run("train", "--resume", tmp_path / "r") == 0
    assert RunFolder(tmp_path / "r").experiment() == experiment
    assert run("train", "--resume", tmp_path / "r", "--on_nan", "stop", "--checkpoint-minutes=10") == 0
    experiment = RunFolder(tmp_path / "r").experiment()
    assert (experiment.objective.on_nan, experiment.run.checkpoint_minutes) == ("stop", 10)
    assert run("train", "--resume", tmp_path / "r", "--runs", tmp_path) == 2
    assert run("train", "--resume", tmp_path / "r", "--on_nan", "skip", "--seed", 3) == 2
    assert "give no others beside it" in capsys.readouterr().err
