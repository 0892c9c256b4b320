"""Where jobs run: in this process, in several processes of this machine, or on a Ray cluster."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias, TypeVar

import torch

Result = TypeVar("Result")
Job: TypeAlias = Callable[[], Result]
Engine: TypeAlias = Callable[[Sequence[Job]], Iterator]


def run_here(jobs: Sequence[Job[Result]]) -> Iterator[Result]:
    """Yield what each job returns, one after the other."""
    for job in jobs:
        yield job()


def local_engine(processes: int) -> Engine:
    """Return an engine of so many processes on this machine, which share its cores evenly; 1 runs in this one.

    Raises:
        ValueError: for fewer than one process.
    """
    if processes < 1:
        raise ValueError(f"--processes {processes} run nothing; give 1 or more")
    return run_here if processes == 1 else _Processes(processes)


class _Processes:
    def __init__(self, processes: int) -> None:
        self.processes = processes

    def __call__(self, jobs: Sequence[Job[Result]]) -> Iterator[Result]:
        if not jobs:
            return
        # Not forked: a forked copy of a process whose PyTorch has started threads may hang.
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        before = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(self.processes, context, _begin, (threads,))
        try:
            for done in as_completed([pool.submit(job) for job in jobs]):
                yield done.result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a process of the comparison was killed, most likely for lack of memory; what is finished is kept: start it "
                "again with fewer --processes"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()


def _begin(threads: int) -> None:
    # An interruption is for the process that handed out the jobs; it ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def ray_engine(processes: int) -> Engine:
    """Return an engine on the Ray cluster that RAY_ADDRESS names, or on one started here with so many processes.

    The folder of the comparison and the prepared data sets must be under the same path on all its machines.

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
            local = {} if address else {"num_cpus": processes, "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, **local)
        try:
            remote = ray.remote(num_cpus=1, max_retries=2)(_on_a_node)
            waiting = [remote.remote(job) for job in jobs]
            while waiting:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        finally:
            if started_here:
                ray.shutdown()

    return engine


def _on_a_node(job: Job[Result]) -> Result:
    torch.set_num_threads(1)
    return job()
