"""The command `pairlens compare`."""

import json

import pytest

from pairlens.comparison.results import read_results
from pairlens.comparison.study_file import read_study
from support.commands import QUICK, run

SMALL = [word.replace("resnet10t", "test_resnet") for word in QUICK]
TWO = ["--losses", "triplet", "circle:gamma=10 as mine"]


@pytest.fixture(scope="module")
def study(data_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "c"
    assert run("compare", *TWO, "--seeds", 2, "--data_path", data_path, "--out", out, *SMALL) == 0
    return out


def test_one_command_writes_results_tables_and_figures(study):
    assert {file.name for file in study.iterdir()} == {
        ".lock",
        "study.json",
        "runs",
        "results.json",
        "comparison.md",
        "comparison.tex",
        "comparison.csv",
        "differences.csv",
        "figures",
    }
    (field,) = read_results(study).fields
    assert {loss.name for loss in field.losses} == {"triplet", "mine"}
    assert all(loss.seeds == (0, 1) for loss in field.losses)


def test_the_same_command_runs_only_what_is_new(study, data_path, capsys):
    assert run("compare", *TWO, "--seeds", 3, "--data_path", data_path, "--out", study, *SMALL) == 0
    printed = capsys.readouterr().out
    assert "2 runs to make" in printed
    assert f"pairlens report {study}" in printed
    assert "[2/2] bars: mine, seed 2" in printed
    assert "Highest mean MAP@R on bars" in printed
    assert run("compare", "--resume", study) == 0
    assert "0 runs to make" in capsys.readouterr().out


def test_every_data_set_and_auxiliary_weight_is_a_field(data_path, tmp_path):
    words = ["--seeds", 1, "--data_path", data_path, "--out", tmp_path, *SMALL, "--auxiliary", 0, 1]
    assert run("compare", *TWO, *words, "--data_name", "bars", "shop", "--num_epochs", 0) == 0
    names = [field.name for field in read_study(tmp_path).fields]
    assert names == ["bars, loss alone", "bars, auxiliary 1", "shop, loss alone", "shop, auxiliary 1"]
    assert len(read_results(tmp_path).fields) == 4


def test_a_study_file_is_run_in_the_given_folder(data_path, tmp_path, capsys):
    file = tmp_path / "mine.toml"
    settings = dict(zip((w[2:].replace("-", "_") for w in SMALL[::2]), map(number, SMALL[1::2]), strict=True))
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**settings, "num_epochs": 0}.items()]
    file.write_text('losses = ["triplet", "circle"]\nseeds = 1\n[settings]\n' + "\n".join(lines), encoding="utf-8")
    assert run("compare", file, "--data_path", data_path, "--out", tmp_path / "out") == 0
    assert read_study(tmp_path / "out").fields[0].settings.data.path == data_path
    assert run("compare", file, "--data_path", data_path, "--image_size", 64) == 2
    assert "holds its own losses and settings" in capsys.readouterr().err


def number(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "compare needs losses"),
        (["--losses", "triplet"], "two losses or more"),
        (["--losses", "triplet", "nonsense"], "there is no loss nonsense"),
        (["--losses", "triplet", "circle", "--data_name", "nowhere"], "does not exist"),
        (["--losses", "triplet", "circle", "--seeds", "0"], "give --seeds 1 to"),
        (["--losses", "triplet", "circle", "--metric", "R@3"], "--metric R@3 is not measured"),
        (["--losses", "triplet", "circle", "--processes", "0"], "--processes must be 1 or more"),
        (["--resume", "nowhere"], "not the folder of a comparison"),
        (["nowhere.toml"], "cannot be read as TOML"),
    ],
)
def test_bad_input_is_one_sentence(words, message, data_path, tmp_path, capsys):
    data = [] if "--resume" in words or "nowhere.toml" in words else ["--data_path", data_path, *SMALL[2:]]
    assert run("compare", *words, *data, "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
