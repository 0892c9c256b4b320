"""Ctrl-C ends in one sentence that says how to go on, also while libraries are imported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairlens.cli import demo, interruption
from pairlens.cli.launch import guard
from pairlens.cli.train import interrupted_run
from pairlens.experiments.run_folder import RunFolder
from support.commands import QUICK, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ordinary_ctrl_c(monkeypatch):
    monkeypatch.setattr(interruption._Signal, "time", float("-inf"))
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def press(error=None):
    """Press Ctrl-C; a library makes another error of it."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        if error is not None:
            raise error from None
        raise


ERRORS = [None, ImportError("numpy.core failed to import"), SystemError("no exception set"), ValueError("damaged")]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_ctrl_c_is_one_sentence_whatever_a_library_makes_of_it(error, capsys):
    with pytest.raises(SystemExit, match="130"):
        guard(lambda: press(error))
    assert capsys.readouterr().err == "pairlens: interrupted. Give the same command again\n"
    # A second Ctrl-C does not add a traceback while the process ends.
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_the_sentence_of_the_work_goes_before_the_general_one(error, capsys):
    def command():
        with interruption.say_how_to_go_on(lambda: "interrupted; go on with this"):
            press(error)

    with pytest.raises(SystemExit, match="130"):
        guard(command)
    assert capsys.readouterr().err == "pairlens: interrupted; go on with this\n"


def test_an_error_long_after_ctrl_c_is_that_error(monkeypatch, capsys):
    def command():
        with pytest.raises(KeyboardInterrupt):
            press()
        monkeypatch.setattr(interruption._Signal, "time", time.monotonic() - 60)
        raise ValueError("the photo is damaged")

    with pytest.raises(SystemExit, match="2"):
        guard(command)
    assert capsys.readouterr().err == "pairlens: the photo is damaged\n"


def test_an_error_without_ctrl_c_is_that_error(capsys):
    with pytest.raises(SystemExit, match="2"), interruption.say_how_to_go_on(lambda: "wrong"):
        guard(lambda: (_ for _ in ()).throw(ValueError("the photo is damaged")))
    assert capsys.readouterr().err == "pairlens: the photo is damaged\n"


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard(lambda: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_sentence_of_a_run_says_what_is_there(tmp_path):
    run_folder = RunFolder(tmp_path)
    assert "before" in interrupted_run(run_folder)
    run_folder.config.write_text("{}", encoding="utf-8")
    assert "there was no checkpoint yet. Continue with: pairlens train --resume" in interrupted_run(run_folder)
    (tmp_path / "checkpoint.safetensors").touch()
    assert "the last checkpoint is saved. Continue with: pairlens train --resume" in interrupted_run(run_folder)


@pytest.mark.parametrize("when", ["drawing", "training"])
def test_an_interrupted_demo_says_how_to_go_on(tmp_path, monkeypatch, capsys, when):
    name = {"drawing": "_new_folder", "training": "train"}[when]
    monkeypatch.setattr(demo, name, lambda *_arguments, **_named: press())
    assert run("demo", "--out", tmp_path) == 130
    error = capsys.readouterr().err
    if when == "drawing":
        assert "before anything was trained. Give the same command again: pairlens demo" in error
        return
    assert f"Continue with: pairlens compare --resume {tmp_path / 'run-1'}" in error
    assert (tmp_path / "run-1" / "study.json").is_file()


@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_ctrl_c_in_the_first_seconds_is_one_sentence(data_path, tmp_path, seconds):
    words = ["train", *QUICK, "--data_path", data_path, "--runs", tmp_path, "--name", "r", "--num_epochs", 500]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pairlens", *map(str, words)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, env=environment, **streams) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        try:
            error = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert error.startswith("pairlens: interrupted")
    assert error.count("\n") == 1
    # Python ends itself with the signal where it has seen the interruption inside a library; shells show 130 for both.
    assert process.returncode in (130, -signal.SIGINT)
