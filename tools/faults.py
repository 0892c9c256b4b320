"""Does a run that is killed at random moments, several times, end with the same files as an uninterrupted run?

    python tools/faults.py --kills 40 --out /tmp/faults

Every process is forked from this one, which has imported everything, and is ended with SIGKILL: at a random time, in a
chosen phase, or just before or after one of its files is renamed to its final name. After every kill each file must
open. Then the command that a person would give (`pairlens train --resume RUN`, or the same `prepare` or `train` again)
resumes the run without any repair. At the end weights, gallery, statistics and random states must be bit-identical;
only seconds may differ.

With `--conditions N`, N trials of each fault of `fault_conditions` follow: too little memory, a closed pipe, Ctrl-C, absurd
settings, and a data file that is touched or changed.
"""

import argparse
import json
import mmap
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm  # noqa: F401
import torch
from fault_conditions import Conditions
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import pairlens.cli.arguments
import pairlens.cli.train  # noqa: F401
from pairlens.cli.main import main as run_command
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.recorder import RunRecorder
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Embedder

RESULTS = Path(__file__).parent.parent / "benches" / "results" / "faults.json"
MINUTES = 0.002
QUICK = (
    f"--data_name folder --backbone_type test_resnet --gd_config SM --feature_dim 16 --batch_size 12 --per_class 3 "
    f"--num_epochs 2 --weights none --stride none --freeze_bn none --image_size 32 --device cpu --learning_rate 1e-3 "
    f"--checkpoint_minutes {MINUTES}"
).split()
SETUPS = {
    "memory": ["circle", "--references", "memory", "--memory_size", "60", "--workers", "0"],
    "chance": ["margin", "--miner", "distance_weighted", "--select", "test", "--workers", "2"],
    "proxies": ["softtriple", "--centers", "2", "--select", "validation", "--optimizer", "adamw", "--workers", "0"],
}
PHASES = ("starting", "training", "evaluating", "writing")
PREPARING = "preparing"


class Shared:
    """State of a child process in shared memory: its phase, and when it last wrote a checkpoint."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 16)

    def tell(self, phase: str) -> None:
        """Note the phase that the child is in."""
        self.memory[0] = PHASES.index(phase)

    @property
    def phase(self) -> str:
        """The phase that the child is in."""
        return PHASES[self.memory[0]]

    def saved(self) -> None:
        """Note that a checkpoint was written or read now."""
        self.memory[8:16] = struct.pack("d", time.time())

    @property
    def age(self) -> float:
        """Seconds since then."""
        return time.time() - struct.unpack("d", self.memory[8:16])[0]


def marked(function: Callable, shared: Shared, phase: str, after: Callable[[], None] | None = None) -> Callable:
    def wrapper(*arguments: object) -> object:
        before = shared.phase
        shared.tell(phase)
        found = function(*arguments)
        shared.tell("training" if before == "starting" else before)
        if after is not None:
            after()
        return found

    return wrapper


def begin(
    words: list[str], log: Path, shared: Shared, gap: int | None = None, prepare: Callable[[], object] = lambda: None
) -> int:
    """Fork a process that runs a command; with `gap` it kills itself around the renaming of a file with that number.

    `prepare` is called in the new process before the command.
    """
    shared.tell("starting")
    shared.saved()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        torch.set_num_threads(1)
        RunRecorder.measure = marked(RunRecorder.measure, shared, "evaluating")
        RunRecorder._save_checkpoint = marked(RunRecorder._save_checkpoint, shared, "writing")
        RunRecorder._note_checkpoint = marked(RunRecorder._note_checkpoint, shared, "writing", shared.saved)
        RunRecorder._write = marked(RunRecorder._write, shared, "writing")
        if gap is not None:
            Path.replace = deadly(Path.replace, gap)
        # A process of its own handles Ctrl-C like one that was started by a shell.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare()
        run_command(words)
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def deadly(replace: Callable, gap: int) -> Callable:
    """Return a renaming that kills its process before (even) or after (odd) the file gets its name."""
    done = 0

    def wrapper(part: Path, target: Path) -> Path:
        nonlocal done
        if done == gap:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(part, target)
        if done + 1 == gap:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 2
        return target

    return wrapper


def end(child: int) -> int | None:
    """Return the exit status of a process that has ended by itself, None for one that was killed."""
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def alive(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def wait_for(child: int, holds: Callable[[], bool], seconds: float) -> None:
    limit = time.perf_counter() + seconds
    while not holds() and alive(child) and time.perf_counter() < limit:
        time.sleep(0.0005)


def kill(child: int) -> bool:
    """Kill a process; returns whether it was still running."""
    running = alive(child)
    os.kill(child, signal.SIGKILL)
    end(child)
    return running


class Faults:
    """The trials: uninterrupted reference runs, and runs that are killed."""

    def __init__(self, out: Path, seed: int, setups: list[str]) -> None:
        self.setups = setups
        self.out, self.draw, self.shared = out, random.Random(seed), Shared()
        self.log, self.hits, self.lost, self.seconds = out / "log.txt", Counter(), 0.0, {}
        out.mkdir(parents=True)
        draw_photos(out / "photos")
        self.prepare_words = f"prepare --data_name folder --source {out / 'photos'} --size 36 --data_path".split()
        self.finish([*self.prepare_words, str(out / "data")], "prepare")

    def finish(self, words: list[str], name: str) -> None:
        """Run a command until it ends."""
        start = time.perf_counter()
        status = end(begin(words, self.log, self.shared))
        assert status == 0, f"{' '.join(words)} ended with {status}; see {self.log}"
        self.seconds.setdefault(name, time.perf_counter() - start)

    def reference(self, setup: str) -> Path:
        """Return an uninterrupted run."""
        folder = self.out / f"{setup}-alone"
        if not folder.exists():
            self.finish(self.train_words(setup, folder), setup)
        return folder

    def train_words(self, setup: str, folder: Path) -> list[str]:
        """Return the command that starts a run."""
        where = ["--data_path", str(self.out / "data"), "--runs", str(folder.parent), "--name", folder.name]
        return ["train", *SETUPS[setup], *QUICK, *where]

    def trial(self, number: int, kills: int) -> int:
        """Kill one run up to a number of times, let it end, and compare; returns how often it was still running."""
        setup = self.setups[number % len(self.setups)]
        alone, folder, hits = self.reference(setup), self.out / f"{setup}-{number}", 0
        for _ in range(kills):
            hits += self.strike(self.next_words(setup, folder), setup)
            check_files(folder)
        self.finish(self.next_words(setup, folder), "rest")
        compare(alone, folder)
        shutil.rmtree(folder)
        return hits

    def next_words(self, setup: str, folder: Path) -> list[str]:
        """Return the command that resumes a run after an interruption."""
        resume = (folder / "config.json").is_file()
        return ["train", "--resume", str(folder)] if resume else self.train_words(setup, folder)

    def strike(self, words: list[str], setup: str) -> bool:
        """Start a process and kill it at a random time, in a random phase, or around a renaming."""
        how = self.draw.choice(("time", "phase", "gap"))
        if how == "gap":
            child = begin(words, self.log, self.shared, gap=self.draw.randrange(60))
            if end(child) is None:
                self.hits["around a renaming"] += 1
                return True
            return False
        child = begin(words, self.log, self.shared)
        if how == "phase":
            phase = self.draw.choice(PHASES)
            wait_for(child, lambda: self.shared.phase == phase, 20)
            time.sleep(self.draw.uniform(0, 0.02))
        else:
            time.sleep(self.draw.uniform(0, self.seconds[setup]))
        phase, age = self.shared.phase, self.shared.age
        if not kill(child):
            return False
        self.hits[phase] += 1
        if phase in ("training", "writing"):
            self.lost = max(self.lost, age)
        return True

    def trial_of_preparation(self, gap: int | None) -> int:
        """Kill a preparation, start it again, and compare."""
        words, data = self.prepare_words, self.out / "killed"
        child = begin([*words, str(data)], self.log, self.shared, gap)
        if gap is None:
            time.sleep(self.draw.uniform(0, self.seconds["prepare"]))
            kill(child)
        else:
            end(child)
        self.hits[PREPARING] += 1
        self.finish([*words, str(data)], "rest")
        for name in ("uncropped.arrow", "uncropped.json"):
            assert (data / "folder" / name).read_bytes() == (self.out / "data" / "folder" / name).read_bytes(), name
        assert len(Catalog.open(data / "folder" / "uncropped.arrow"))
        shutil.rmtree(data)
        return 1

    def trial_of_the_command(self, setup: str) -> int:
        """Do the same with the installed command, which is not forked from this process."""
        alone, folder = self.reference(setup), self.out / f"{setup}-command"
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-c", "from pairlens.cli.main import main; main()"]
        with self.log.open("a", encoding="utf-8") as log:
            started = subprocess.Popen([*command, *self.train_words(setup, folder)], stdout=log, stderr=log)
            limit = time.perf_counter() + 60
            while not (folder / "checkpoint.safetensors").is_file() and time.perf_counter() < limit:
                time.sleep(0.01)
            time.sleep(self.draw.uniform(0, self.seconds[setup]))
            started.kill()
            started.wait()
            check_files(folder)
            subprocess.run([*command, *self.next_words(setup, folder)], stdout=log, stderr=log, check=True)
        compare(alone, folder)
        self.hits["the command"] += 1
        return 1


def draw_photos(folder: Path, classes: int = 12, shots: int = 16) -> None:
    for number in range(classes):
        (folder / f"class{number:02d}").mkdir(parents=True)
        for shot in range(shots):
            noise = np.random.default_rng((number, shot)).integers(0, 240, (48, 48, 3))
            tint = np.random.default_rng(number).integers(0, 12, 3)
            Image.fromarray((noise + tint).astype(np.uint8)).save(folder / f"class{number:02d}" / f"{shot:02d}.png")


def check_files(folder: Path) -> None:
    """Open every file of a run."""
    place = RunFolder(folder)
    for file in place.path.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            assert stored.keys(), file
    if place.config.is_file():
        place.experiment()
    if place.outcome.is_file():
        place.read_outcome()
        Embedder.load(folder)
        Embeddings.load(place.gallery)


def compare(alone: Path, killed: Path) -> None:
    """Check that two runs are bit-identical but for the seconds that they took."""
    for file in ("model.safetensors", "model.json", "analysis.csv"):
        assert (alone / file).read_bytes() == (killed / file).read_bytes(), f"{file} of {killed} differs"
    for file in ("outcome.json", "statistics.csv"):
        assert without_seconds(alone / file) == without_seconds(killed / file), f"{file} of {killed} differs"
    first, second = (contents(folder) for folder in (alone, killed))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} of {killed} differs"
    assert Embeddings.load(alone / "gallery.safetensors").model == Embeddings.load(killed / "gallery.safetensors").model
    # A file whose name begins with a dot is the lock; all others must be the files of a run.
    names = [{f.name for f in folder.iterdir()} for folder in (alone, killed)]
    assert names[0] == names[1], f"{killed} holds {names[0] ^ names[1]}"


def contents(folder: Path) -> dict[str, torch.Tensor]:
    return {**load_file(folder / "checkpoint.safetensors"), **load_file(folder / "gallery.safetensors")}


def without_seconds(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        return "\n".join(line.rpartition(",")[0] for line in text.splitlines())
    return re.sub(r'"seconds": [\d.e-]+', "", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="of training; a run is killed up to three times")
    parser.add_argument("--preparations", type=int, default=8)
    parser.add_argument("--commands", type=int, default=2, help="kills of the command itself, which starts slowly")
    parser.add_argument("--conditions", type=int, default=0, help="trials of each other fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setups", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--out", type=Path, default=Path("faults"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    faults, start = Faults(asked.out, asked.seed, asked.setups), time.perf_counter()
    done = sum(faults.trial_of_preparation(None if i % 2 else i // 2) for i in range(asked.preparations))
    kills = number = 0
    while kills < asked.kills:
        kills += faults.trial(number, min(3, asked.kills - kills))
        number += 1
    for i in range(asked.commands):
        done += faults.trial_of_the_command(asked.setups[i % len(asked.setups)])
    found = {
        "kills": done + kills,
        "runs": number,
        "where": dict(faults.hits),
        "interval_seconds": 60 * MINUTES,
        "most_seconds_lost": round(faults.lost, 3),
        "seconds": round(time.perf_counter() - start, 1),
        "seed": asked.seed,
    }
    if asked.conditions:
        found["conditions"] = Conditions(faults, begin, compare).run(asked.conditions)
    print(json.dumps(found, indent=1))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", check=False)
    about = {"date": time.strftime("%Y-%m-%d"), "commit": commit.stdout.strip(), "torch": torch.__version__}
    asked.results.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
