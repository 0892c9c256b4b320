"""How much CPU time does a command take to start, beside `import torch` alone? `python benches/start_time.py`.

Every command runs in a process of its own, in turns with `python -c "import torch"`; user and system time of the process are
added. With --before FOLDER the same commands of another version of this repository run in the same turns. Writes
benches/results/start_time.json.
"""

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from provenance import RESULTS, about, write_result

ROOT = Path(__file__).resolve().parent.parent
TORCH = "import torch"
# Python code, the words after `python -m pairlens`, or a script of the repository with its options.
CODE = (TORCH, "import pairlens", "from pairlens import *")
COMMANDS = (
    *("--help", "--version", "trian", "train --help", "losses", "recipes", "query --help"),
    *("prepare --help", "evaluate --help", "compare --help", "report --help", "demo --help", "train crcle"),
)
SCRIPTS = ("data_utils.py --help", "train.py --help", "test.py --help")


@dataclass(frozen=True)
class Options:
    """Options: the number of turns, and the root folder of a version to compare with."""

    turns: int = 5
    before: Path | None = None


def processes() -> dict[str, list[str]]:
    """Return the words that start each process, by its name in the table."""
    named = {code: ["-c", code] for code in CODE}
    named |= {f"pairlens {words}": ["-m", "pairlens", *words.split()] for words in COMMANDS}
    return named | {script: script.split() for script in SCRIPTS}


def cpu_seconds(words: list[str], root: Path) -> float:
    """Return the CPU seconds of a Python process that imports Pairlens from a version of the repository."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    before = os.times()
    # A misspelt command ends with status 2, so the status is not checked.
    subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, check=False)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def measure(roots: dict[str, Path], turns: int) -> dict[str, dict[str, list[float]]]:
    """Return the CPU seconds of every process in every turn, by version and name."""
    seconds = {version: {name: [] for name in processes()} for version in roots}
    # The first turn is not counted: it compiles the modules and fills the file cache.
    for turn in range(turns + 1):
        for name, words in processes().items():
            for version, root in roots.items():
                taken = cpu_seconds(words, root)
                if turn:
                    seconds[version][name].append(taken)
    return seconds


def main(options: Options) -> None:
    """Measure, print the medians and their ratio to PyTorch's, and store them."""
    roots = {"now": ROOT} | ({} if options.before is None else {"before": options.before.resolve()})
    seconds = measure(roots, options.turns)
    torch_seconds = statistics.median(seconds["now"][TORCH])
    results = {}
    for name in processes():
        medians = {version: statistics.median(seconds[version][name]) for version in roots}
        results[name] = {"seconds": seconds["now"][name], **medians, "ratio": medians["now"] / torch_seconds}
        print(
            f"{name:28}",
            *(f"{key} {value:5.2f} s" for key, value in medians.items()),
            f"{results[name]['ratio']:.2f} x",
        )
    write_result(RESULTS / "start_time.json", {**about("tyro"), "results": results})


if __name__ == "__main__":
    main(tyro.cli(Options))
