"""What torchrun starts in tests: two ranks, of which the second comes to an end that was not meant."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import distributed as dist

from pairlens.cli.launch import guard
from pairlens.core.distributed import rank


def fail() -> None:
    dist.all_reduce(torch.ones(1))
    if rank() == 1:
        Path(sys.argv[2]).touch()
    match sys.argv[1], rank():
        case "raise", 1:
            raise ValueError("photo 7 is damaged")
        case "orphaned", number:
            Path(f"{sys.argv[2]}-{number}").write_text(str(os.getpid()), encoding="utf-8")
            time.sleep(600)
        case "killed", 1:
            os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(1))


if __name__ == "__main__":
    guard(fail)
