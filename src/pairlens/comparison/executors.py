"""Executors of a comparison's jobs: this process, several processes of this machine, or a Ray cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import TypeAlias, TypeVar

import torch

from pairlens.core.freed_memory import keep_freed_memory

Result = TypeVar("Result")
Job: TypeAlias = Callable[[], Result]
Engine: TypeAlias = Callable[[Sequence[Job]], Iterator]


def run_here(jobs: Sequence[Job[Result]]) -> Iterator[Result]:
    """Yield the result of each job, one after the other, in this process."""
    for job in jobs:
        yield job()


def local_engine(processes: int) -> Engine:
    """Return an executor with a number of processes on this machine, which share its cores evenly.

    With one process the jobs run in the current process.

    Raises:
        ValueError: for fewer than one process.
    """
    if processes < 1:
        raise ValueError(f"--processes must be 1 or more, not {processes}")
    return run_here if processes == 1 else _ProcessEngine(processes)


class _ProcessEngine:
    def __init__(self, processes: int) -> None:
        self.processes = processes

    def __call__(self, jobs: Sequence[Job[Result]]) -> Iterator[Result]:
        if not jobs:
            return
        # Processes are spawned, not forked: a fork of a process whose PyTorch has started threads may hang.
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        ended, end = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(self.processes, context, _initialize_worker, (threads, ended))
        try:
            for done in as_completed([pool.submit(job) for job in jobs]):
                yield done.result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a process of the comparison was killed, most likely because memory ran out; finished runs are saved: "
                "start the comparison again with fewer --processes (a script of your own must start it below "
                'if __name__ == "__main__")'
            ) from error
        finally:
            # The pool alone would wait for jobs that are running, which may take hours after an interruption.
            pool.shutdown(wait=False, cancel_futures=True)
            # No worker reads it, so that all of them see it. Other processes that the caller has started go on.
            end.send_bytes(b"end")


def _initialize_worker(threads: int, ended: Connection) -> None:
    # Ctrl-C reaches every process of the terminal. Only the parent handles it, and then ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed cannot end its workers, which would go on for hours and keep the folders locked.
    threading.Thread(target=_end_with_parent, args=(ended,), name="end with parent", daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)


def _end_with_parent(ended: Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel, ended])
    # At once, without cleaning up: what a job has not finished is made again by the next comparison.
    os._exit(1)


def ray_engine(processes: int) -> Engine:
    """Return an executor on the Ray cluster that RAY_ADDRESS names, or on a cluster started here.

    The folder of the comparison and the prepared data sets must have the same path on all machines of the cluster.

    Args:
        processes: number of CPUs of a cluster that is started here.

    Raises:
        ValueError: if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError('--engine ray needs Ray; install it with: pip install "pairlens[ray]"') from error

    def engine(jobs: Sequence[Job[Result]]) -> Iterator[Result]:
        if not jobs:
            return
        started_here = not ray.is_initialized()
        if started_here:
            address = os.environ.get("RAY_ADDRESS")
            # Ray refuses a number of CPUs together with the address of a cluster that exists already.
            local = {} if address else {"num_cpus": processes, "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, **local)
        try:
            remote = ray.remote(num_cpus=1, max_retries=2)(_run_on_one_cpu)
            waiting = [remote.remote(job) for job in jobs]
            while waiting:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        finally:
            if started_here:
                ray.shutdown()

    return engine


def _run_on_one_cpu(job: Job[Result]) -> Result:
    # Each job reserves one CPU; more threads would slow down the other jobs of the node.
    torch.set_num_threads(1)
    keep_freed_memory()
    return job()
