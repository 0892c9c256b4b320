"""Output that cannot be written never ends the work, and the exit status says whether the work was done."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pairlens.cli.launch import guard
from pairlens.cli.output import SteadyOutput, steady_output
from pairlens.experiments.run_folder import RunFolder
from support.commands import QUICK

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "pairlens"]


class Failing(io.StringIO):
    """A stream whose file fails with an error at every write."""

    encoding = "utf-8"

    def __init__(self, number, after=0):
        super().__init__()
        self.number, self.left = number, after

    def write(self, text):
        if not self.left:
            raise OSError(self.number, os.strerror(self.number))
        self.left -= 1
        return super().write(text)


def narrow(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["s_p ≥ 0.9 and Σ exp γ", "café", "日本", "half a character: \udcff"])
def test_what_an_encoding_does_not_have_is_written_as_an_escape(encoding, text):
    stream = narrow(encoding)
    output = SteadyOutput(stream)
    assert output.write(text + "\n") == len(text) + 1
    written = stream.buffer.getvalue().decode(encoding)
    assert written == (text + "\n").encode(encoding, "backslashreplace").decode(encoding)
    assert output.failure is None


def test_tables_and_bars_of_rich_choose_lines_that_the_encoding_has():
    stream = narrow("cp1252")
    console = Console(file=SteadyOutput(stream), width=40, force_terminal=False)
    assert console.encoding == "cp1252"
    console.print("γ")
    assert b"u03b3" in stream.buffer.getvalue()


@pytest.mark.parametrize(("number", "lost"), [(errno.EPIPE, False), (errno.ENOSPC, True), (errno.EIO, True)])
def test_a_stream_that_fails_takes_everything_later_in_silence(number, lost):
    output = SteadyOutput(Failing(number, after=1))
    output.write("one")
    for _ in range(3):
        output.write("two")
        output.flush()
    assert output.failure.errno == number
    assert (output.lost() is not None) == lost


def test_a_process_without_standard_output_works(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with steady_output() as output:
        sys.stdout.write("nobody reads this")
        print("nor this")  # noqa: T201
        assert not output.isatty()
    assert output.lost() is None
    assert sys.stdout is None


@pytest.mark.parametrize(("number", "status"), [(errno.EPIPE, 0), (errno.ENOSPC, 2)])
def test_a_command_does_its_work_and_the_status_tells(monkeypatch, capsys, number, status):
    done = []
    monkeypatch.setattr(sys, "stdout", Failing(number))

    def command():
        print("first line")  # noqa: T201
        done.append("work")

    ended = 0
    try:
        guard(command)
    except SystemExit as stop:
        ended = stop.code
    assert done == ["work"]
    assert ended == status
    error = capsys.readouterr().err
    assert error == "" if not status else "the work is done, but its output could not be written" in error


def test_a_training_whose_reader_has_gone_trains_to_its_end(data_path, tmp_path):
    words = ["train", *QUICK, "--data_path", data_path, "--runs", tmp_path, "--name", "r"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # Like `| head -1`.
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=120) == 0
    assert RunFolder(tmp_path / "r").read_outcome().rows[-1].epoch == 1


def test_losses_are_printed_in_an_encoding_without_greek():
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([*COMMAND, "losses"], env=environment, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "circle" in done.stdout.decode("cp1252")
