"""Commands as torchrun starts them, on two ranks; all are started together, and cost their imports."""

import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from torch import OutOfMemoryError
from torch import distributed as dist

from pairlens.cli.launch import ExitReporter, guard
from pairlens.comparison.reproduce import differing, option
from pairlens.experiments.run import run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.training.fit import Step
from support.experiments import changed

ROOT = Path(__file__).parents[2]
STARTING, ENDING = 300, 60
ENDS = ("raise", "killed", "orphaned")


def torchrun(*words):
    # No name of the host is looked up, which some machines cannot do.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


@pytest.fixture(scope="module")
def settings(tiny):
    return changed(tiny, backbone="test_resnet", num_epochs=1, references="memory", memory_size=36)


@pytest.fixture(scope="module")
def started(settings, tmp_path_factory):
    # `option` writes each setting as a user types it.
    words = ["train", "circle", *(word for name, value in differing(settings).items() for word in option(name, value))]
    runs = tmp_path_factory.mktemp("runs")
    processes = {end: torchrun(ROOT / "tests" / "support" / "torchrun_worker.py", end, runs / end) for end in ENDS}
    processes["train"] = torchrun("-m", "pairlens", *words, "--runs", runs, "--name", "two")
    stop_after_a_step(changed(settings, checkpoint_minutes=1e-9), RunFolder(runs / "stopped"))
    processes["resume"] = torchrun("-m", "pairlens", "train", "--resume", runs / "stopped")
    yield processes, runs
    for process in processes.values():
        process.kill()
        process.wait()


def stop_after_a_step(settings, run_folder):
    events = train(settings, run_folder)
    while not isinstance(next(events), Step):
        pass
    events.close()


@pytest.fixture(scope="module")
def alone(started, settings, tmp_path_factory):
    return run(settings, tmp_path_factory.mktemp("alone") / "one")


def last_words(process, sign):
    """Return what a job writes to stderr that must end within a minute of a rank's sign that it is about to fail."""
    start = time.monotonic()
    while not sign.exists() and time.monotonic() - start < STARTING:
        time.sleep(0.1)
    return process.communicate(timeout=ENDING)[1]


@pytest.mark.parametrize(("job", "folder"), [("train", "two"), ("resume", "stopped")])
def test_two_ranks_come_to_the_report_of_one_process(started, alone, job, folder):
    processes, runs = started
    out, error = processes[job].communicate(timeout=STARTING)
    assert processes[job].returncode == 0, error
    found = RunFolder(runs / folder).read_outcome()
    assert found.baselines == alone.outcome.baselines
    for a, b in zip(found.rows, alone.outcome.rows, strict=True):
        assert a.report["MAP@R"] == pytest.approx(b.report["MAP@R"], abs=0.02)
        assert a.epoch == 0 or a.train_loss == pytest.approx(b.train_loss, rel=1e-3)
    assert out.count("epoch 1/1  loss") == 1
    assert out.count("look up a photo") == 1


def test_a_rank_that_fails_ends_all_with_its_sentence_within_a_minute(started):
    processes, folder = started
    assert "pairlens: rank 1: photo 7 is damaged\n" in last_words(processes["raise"], folder / "raise")
    assert processes["raise"].returncode == 1


def test_a_rank_that_is_killed_ends_all_within_a_minute(started):
    processes, folder = started
    assert "Signal 9 (SIGKILL)" in last_words(processes["killed"], folder / "killed")
    assert processes["killed"].returncode == 1


def test_ranks_end_when_torchrun_itself_is_killed(started):
    processes, folder = started
    signs, start = [folder / f"orphaned-{number}" for number in (0, 1)], time.monotonic()
    while (
        not all(sign.exists() and sign.read_text(encoding="utf-8") for sign in signs)
        and time.monotonic() - start < STARTING
    ):
        time.sleep(0.1)
    ranks = [Path("/proc") / sign.read_text(encoding="utf-8") for sign in signs]
    assert all(rank.exists() for rank in ranks)
    processes["orphaned"].kill()
    processes["orphaned"].wait()
    start = time.monotonic()
    while any(rank.exists() for rank in ranks) and time.monotonic() - start < ENDING:
        time.sleep(0.1)
    assert not any(rank.exists() for rank in ranks)
    processes["orphaned"].communicate()


def test_what_all_ranks_say_is_said_once(monkeypatch, capsys, tmp_path):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    store = dist.HashStore()
    for rank in range(3):
        ExitReporter(store, rank).end("the loss became nan", 2)
    ExitReporter(store, 1).end("photo 7 is damaged", 2)
    assert capsys.readouterr().err == "pairlens: rank 0: the loss became nan\npairlens: rank 1: photo 7 is damaged\n"
    assert left == [2, 2, 2, 2]
    assert "rank 1: photo 7" in (tmp_path / "error.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't allocate memory: you asked for 9 bytes"),
        MemoryError(),
        OutOfMemoryError(),
    ],
)
def test_too_little_memory_is_one_sentence(error, capsys):
    with pytest.raises(SystemExit, match="2"):
        guard(Mock(side_effect=error))
    assert capsys.readouterr().err.startswith("pairlens: there is not enough memory; lower --batch_size")
