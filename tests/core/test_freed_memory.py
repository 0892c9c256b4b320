"""The C library keeps freed memory while a command runs, and gives it back when it is asked to."""

import json
import subprocess
import sys
from statistics import median

import pytest

from pairlens.cli import legacy
from pairlens.core import freed_memory
from pairlens.core.freed_memory import give_memory_back, keep_freed_memory
from support.commands import run

# How many pages the system clears in each of twelve turns of six layers, whose maps have 18 MB each, and what is given back.
PROGRAM = """
import json, resource
import torch
from pairlens.core.freed_memory import give_memory_back, keep_freed_memory

def resident():
    return int(open("/proc/self/statm", encoding="ascii").read().split()[1]) * resource.getpagesize()

kept = keep_freed_memory()
layers = torch.nn.Sequential(*(torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)))
photos = torch.zeros(32, 16, 96, 96)
faults = []
with torch.inference_mode():
    for turn in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layers(photos)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
held = resident()
give_memory_back()
print(json.dumps({"kept": kept, "faults": faults, "given_back": held - resident()}))
"""


def measured():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux has these functions")
def test_kept_memory_is_not_cleared_again_and_can_be_given_back():
    kept = measured()
    if not kept["kept"]:
        pytest.skip("this C library has no mallopt")
    # The maps of one layer alone are 4,608 pages of 4 KiB; without `keep_freed_memory`, those of all layers are cleared in
    # every turn. The process grows in its first turn, and once or twice later, when a small block lies in a gap where maps
    # were before. Pages that a process has not had yet are cleared, so the median of the turns is compared.
    assert median(kept["faults"]) < 461
    assert sum(kept["faults"]) < 12 * 4608
    assert kept["given_back"] > 18_000_000


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(freed_memory, "_function", lambda name: None)
    assert keep_freed_memory() is False
    give_memory_back()


def test_every_command_keeps_freed_memory(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(freed_memory, "keep_freed_memory", lambda: called.append(True))
    assert run("recipes") == 0
    assert called == [True]
    assert capsys.readouterr().out


@pytest.mark.parametrize("command", [legacy.prepare, legacy.train, legacy.look_up], ids=lambda one: one.__name__)
def test_so_do_the_historical_commands(command, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(legacy, "keep_freed_memory", lambda: called.append(True))
    with pytest.raises(SystemExit):
        command(["--help"])
    assert called == [True]
    assert capsys.readouterr().out
