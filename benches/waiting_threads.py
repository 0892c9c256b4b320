"""How long should the threads of PyTorch that wait for each other try again before they sleep?

    python benches/waiting_threads.py          # about eight minutes of 2 cores, which nothing else should use

The OpenMP library of PyTorch on Linux (libgomp) lets a thread that waits look again and again whether the others are done:
300,000 times, unless `GOMP_SPINCOUNT` says otherwise. Alone that saves the time of waking it up; beside other programs it
takes the core from the threads that it waits for. Each setting has processes of its own, which take turns: alone, and beside
as many busy programs as there are cores. Writes benches/results/waiting_threads.json.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from freed_memory import embedding, training
from provenance import RESULTS, about, write_result

from pairlens.core.freed_memory import keep_freed_memory

FILE = RESULTS / "waiting_threads.json"
# Times that a thread looks; "" is the default of the library.
COUNTS = ("", "30000", "10000", "3000", "1000", "0")
# What is computed: photos of a pass and their size, or a training step.
WORK = ("embed 1 x 224", "step bfloat16")
TURNS, SECONDS = 3, 2.0
BUSY = "while True: pass"


def measure(name: str) -> dict[str, float]:
    """Return the seconds until the first result, as a command has them, and the milliseconds of each further one."""
    keep_freed_memory()
    start = time.perf_counter()
    kind, _, rest = name.partition(" ")
    step = training(rest) if kind == "step" else embedding(*map(int, rest.split(" x ")))
    step()
    first = time.perf_counter() - start
    step()
    times = []
    while sum(times) < SECONDS:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"first": first, "ms": 1000 * sum(times) / len(times)}


def in_process(name: str, count: str, busy: int) -> dict[str, float]:
    """Measure in a process of its own, beside a number of busy programs."""
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    if count:
        environment["GOMP_SPINCOUNT"] = count
    with ExitStack() as stack:
        for _ in range(busy):
            # Linux shares the cores among sessions, and other programs are in sessions of their own.
            other = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True))
            stack.callback(other.kill)
        command = [sys.executable, str(Path(__file__)), name]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, busy: int) -> dict[str, dict[str, object]]:
    """Return, for each number of times, the medians and how much faster each turn is than with the default."""
    turns = [{count: in_process(name, count, busy) for count in COUNTS} for _ in range(TURNS)]
    return {
        count or "default": {
            **{key: round(statistics.median(turn[count][key] for turn in turns), 2) for key in ("first", "ms")},
            **{
                f"{key}, times as fast": [round(turn[""][key] / turn[count][key], 2) for turn in turns]
                for key in ("first", "ms")
            },
        }
        for count in COUNTS
    }


def main() -> None:
    """Measure, print and store."""
    cores = torch.get_num_threads()
    rows: dict[str, dict[str, dict[str, object]]] = {}
    for name in WORK:
        for busy in (0, cores):
            title = f"{name}, {'alone' if busy == 0 else f'beside {busy} busy programs'}"
            rows[title] = compare(name, busy)
            print(title, *(f"\n  {count}: {row}" for count, row in rows[title].items()), flush=True)
    write_result(FILE, {"about": about(), "turns": TURNS, "rows": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
