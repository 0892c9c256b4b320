"""Commands with little memory: this process imports everything, and each trial is a fork of it with a limit of its own.

Called as `python little_memory.py MEGABYTES,MEGABYTES,... WORDS`; the word RUN stands for a new name in each trial. Prints
one line of JSON per trial: the megabytes, the exit status (None if it hung), the seconds, and what it wrote to stderr.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import pyarrow  # noqa: F401
import timm  # noqa: F401
import torch

import pairlens.cli.compare
import pairlens.cli.demo
import pairlens.cli.runs
import pairlens.cli.train
import pairlens.experiments.run  # noqa: F401
from pairlens.cli.main import main

SECONDS = 60


def address_space() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]
    return int(pages) * resource.getpagesize()


def limited(megabytes: int, words: list[str]) -> None:
    """Run a command in this process with so much more memory than it has now; never returns."""
    limit = address_space() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = 0
    try:
        main(words)
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException as error:
        os.write(2, f"Traceback of {type(error).__name__}: {error}\n".encode())
        status = 70
    os._exit(status)


def trial(megabytes: int, words: list[str]) -> dict[str, object]:
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors.fileno(), 2)
            # The number of the process makes the name new, also when one limit is given several times.
            limited(megabytes, [word.replace("RUN", f"limited{megabytes}_{os.getpid()}") for word in words])
        status = None
        while time.monotonic() - start < SECONDS:
            ended, raw = os.waitpid(child, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(raw)
                break
            time.sleep(0.02)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    return {"megabytes": megabytes, "status": status, "seconds": time.monotonic() - start, "error": text}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number in sys.argv[1].split(","):
        sys.stdout.write(json.dumps(trial(int(number), sys.argv[2:])) + "\n")
        sys.stdout.flush()
