"""Processes of a `torch.distributed` job, forked from one that has imported everything and does nothing else."""

from multiprocessing import set_forkserver_preload

from torch import multiprocessing

# Importing these takes each process longer than what it is started for.
PRELOADED = ("torch", "torch.distributed", "faiss", "timm", "pairlens", "pairlens.experiments.run")
set_forkserver_preload(list(PRELOADED))


def start_ranks(function, arguments, count):
    """Start `count` processes that call a function with their rank and the arguments; `join` waits for them."""
    return multiprocessing.start_processes(function, arguments, count, join=False, start_method="forkserver")


def run_ranks(function, arguments, count):
    """Start processes and wait until all have ended; raises the error of the first that fails."""
    processes = start_ranks(function, arguments, count)
    while not processes.join():
        pass
