"""Faults that leave the process alive: what each promises, tried on runs at random moments.

- little memory: the address space is limited to a little more than the process has; one sentence and status 2, or the run
  ends. Counted apart: a C library that ends the process, which no Python code can prevent.
- closed pipe: the reader of the output goes away after some bytes; the run ends with status 0.
- Ctrl-C: one sentence and status 130; the same command, or --resume, then ends bit-identical.
- absurd settings: learning rates and weight decays up to 1e39; every checkpoint that is left is finite and can be loaded.
- data file: touched, and the run ends bit-identical; changed in any bytes, and one sentence names it: never a signal.
"""

import math
import os
import random
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

SECONDS = 120
# What the C libraries write that end a process themselves.
FROM_LIBRARIES = (b"libgomp:", b"OMP: Error")


def limit_memory(megabytes: int) -> None:
    """Let this process have so much more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    size = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def wait(child: int) -> int | None:
    """Return the exit status of a process, negative for a signal; None and kill it if it does not end."""
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class Conditions:
    """The trials; each adds to `counts` what came of it, and raises AssertionError if a promise is broken."""

    def __init__(self, faults: Any, start: Callable[..., int], compare: Callable[[Path, Path], None]) -> None:
        self.faults, self.start, self.compare = faults, start, compare
        self.random = random.Random(1)
        self.counts: Counter[str] = Counter()

    def run(self, trials: int) -> dict[str, int]:
        """Try every condition a number of times; returns how often each ended how."""
        for number in range(trials):
            for condition in (self.little_memory, self.closed_pipe, self.ctrl_c, self.absurd_settings, self.data_file):
                setup = self.faults.setups[number % len(self.faults.setups)]
                condition(setup, self.faults.out / f"condition-{condition.__name__}-{number}")
        return dict(sorted(self.counts.items()))

    def begin(self, words: list[str], prepare: Callable[[], object] = lambda: None) -> tuple[int, Path]:
        """Start a command; returns the process and the file with its output."""
        log = self.faults.out / "condition.txt"
        log.unlink(missing_ok=True)
        return self.start(words, log, self.faults.shared, prepare=prepare), log

    def little_memory(self, setup: str, folder: Path) -> None:
        """Train with a limit of addresses."""
        megabytes = self.random.choice([self.random.randrange(30, 900), self.random.randrange(1, 60)])
        child, log = self.begin(self.faults.train_words(setup, folder), lambda: limit_memory(megabytes))
        status, text = wait(child), log.read_bytes()
        assert status is not None, f"hung with {megabytes} MB"
        if status == 0:
            self.counts["little memory: finished"] += 1
        elif status == 2:
            assert b"there is not enough memory" in text, text[-500:]
            assert b"Traceback" not in text, text[-500:]
            self.counts["little memory: one sentence"] += 1
        else:
            assert status < 0 or any(words in text for words in FROM_LIBRARIES), (status, text[-500:])
            self.counts["little memory: ended by a C library"] += 1
        shutil.rmtree(folder, ignore_errors=True)

    def closed_pipe(self, setup: str, folder: Path) -> None:
        """Train while the reader of the output goes away."""
        reading, writing = os.pipe()
        child, _ = self.begin(self.faults.train_words(setup, folder), lambda: os.dup2(writing, 1))
        os.close(writing)
        os.read(reading, self.random.choice([1, 100, 400]))
        os.close(reading)
        assert wait(child) == 0
        self.compare(self.faults.reference(setup), folder)
        self.counts["closed pipe: trained to the end"] += 1
        shutil.rmtree(folder)

    def ctrl_c(self, setup: str, folder: Path) -> None:
        """Interrupt a training and continue it."""
        alone = self.faults.reference(setup)
        child, log = self.begin(self.faults.train_words(setup, folder))
        time.sleep(self.random.uniform(0.05, self.faults.seconds[setup]))
        os.kill(child, signal.SIGINT)
        status = wait(child)
        assert status in (0, 130), (status, log.read_bytes()[-500:])
        if status:
            last = log.read_bytes().rstrip().split(b"\n")[-1]
            assert last.startswith(b"pairlens: interrupted"), last
        self.faults.finish(self.faults.next_words(setup, folder), "rest")
        self.compare(alone, folder)
        self.counts["Ctrl-C: resumed, bit-identical" if status else "Ctrl-C: came too late"] += 1
        shutil.rmtree(folder)

    def absurd_settings(self, setup: str, folder: Path) -> None:
        """Train with a learning rate or a weight decay of up to 1e39."""
        name = self.random.choice(["learning_rate", "weight_decay"])
        words = [f"--{name}", f"{10 ** self.random.uniform(2, 39):.3g}", "--checkpoint_minutes", "1e-9"]
        words += ["--on_nan", self.random.choice(["stop", "skip"])]
        given = self.faults.train_words(setup, folder)
        child, log = self.begin([*given, *words])
        status = wait(child)
        assert status in (0, 2), (status, log.read_bytes()[-500:])
        assert status == 0 or b"the last good checkpoint is" in log.read_bytes(), log.read_bytes()[-500:]
        for file in folder.glob("checkpoint*.safetensors"):
            for key, tensor in load_file(file).items():
                assert not tensor.is_floating_point() or math.isfinite(float(tensor.double().abs().max())), (words, key)
        self.counts["absurd settings: refused" if status else "absurd settings: trained"] += 1
        shutil.rmtree(folder)

    def data_file(self, setup: str, folder: Path) -> None:
        """Touch or change the data file while a run trains."""
        data = self.faults.out / "changing"
        shutil.copytree(self.faults.out / "data", data)
        words = self.faults.train_words(setup, folder)
        words[words.index("--data_path") + 1] = str(data)
        child, log = self.begin(words)
        time.sleep(self.random.uniform(0.1, 0.7 * self.faults.seconds[setup]))
        file = data / "folder" / "uncropped.arrow"
        if self.random.random() < 0.3:
            file.touch()
            assert wait(child) == 0, log.read_bytes()[-500:]
            self.counts["data file: touched, trained to the end"] += 1
        else:
            size = file.stat().st_size
            start = self.random.randrange(size)
            with file.open("r+b") as opened:
                opened.seek(start)
                opened.write(bytes([self.random.randrange(256)]) * self.random.randrange(1, size - start + 1))
            status = wait(child)
            # The file may have been read to the end before it was changed.
            assert status in (0, 2), (status, log.read_bytes()[-500:])
            assert status == 0 or b"uncropped.arrow" in log.read_bytes(), log.read_bytes()[-500:]
            self.counts["data file: changed, named" if status else "data file: changed too late"] += 1
        shutil.rmtree(data)
        shutil.rmtree(folder, ignore_errors=True)
