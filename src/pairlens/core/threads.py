"""Ordered prefetching by a pool of threads, and the number of threads that torch uses.

PyTorch is not imported here: a process that runs an ONNX model reads photos in threads without it.
"""

import os
import sys
import time
import weakref
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# How often a consumer that waits for a result checks that the threads are still running.
SECONDS_BETWEEN_CHECKS = 1.0
# How often somebody who waits for the end of a thread looks; threads that have nothing to do end at once.
SECONDS_BETWEEN_LOOKS = 0.001


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int = 2, cores: int = 1
) -> Iterator[Result]:
    """Map `work` over items in threads; results come in the order of the items, and so do exceptions.

    Decoding, resizing, encoding and hashing release Python's global interpreter lock, so threads run them on as many
    cores. Unlike processes, threads start at once, share the catalog, and hand over a batch without copying it.

    Args:
        work: function of one item.
        items: read one by one, in the calling thread.
        threads: number of threads; 0 runs `work` in the calling thread.
        ahead: items per thread that may be submitted before their results are consumed, which bounds the memory.
        cores: number of cores that torch may use in each thread.

    Raises:
        MemoryError: if a thread cannot be started, or ends without a result; nobody waits for such a result forever.

    >>> list(map_in_order(abs, [3, -2, -1], threads=2))
    [3, 2, 1]
    """
    if threads < 1:
        yield from map(work, items)
        return
    pool = _Pool(work, cores)
    pending: deque[_Task[Result]] = deque()
    try:
        pool.start(threads)
        for item in items:
            pending.append(pool.submit(item))
            # The oldest result is waited for, so results keep the order of the items.
            if len(pending) >= ahead * threads:
                yield pool.result(pending.popleft())
        while pending:
            yield pool.result(pending.popleft())
    finally:
        # Also reached when the consumer stops early and the generator is closed.
        pool.close()
        torch = sys.modules.get("torch")
        if torch is not None:
            # `set_num_threads` is per thread, but new threads inherit the last value set; restore it.
            torch.set_num_threads(torch.get_num_threads())


@dataclass(eq=False)
class _Task(Generic[Result]):
    item: Any
    done: Event = field(default_factory=Event)
    result: Result | None = None
    error: BaseException | None = None


class _Token:
    """What a thread holds until it has ended."""


class _Worker:
    """A thread that nobody waits for in vain, even if it ends before its first line.

    `threading.Thread.start` waits until the new thread says that it runs. With almost no memory a thread ends before it can
    say so, and `start` never returns. Here the thread alone holds a token, which the interpreter takes from it however it
    ends.
    """

    def __init__(self, work: Callable[[_Token], None]) -> None:
        """Start the thread; `work` gets the token and must not keep it. Raises RuntimeError if the system refuses it."""
        token = _Token()
        self._token = weakref.ref(token)
        # Such threads do not keep the process: one that ends for want of memory does not wait for them.
        start_new_thread(work, (token,))

    def is_alive(self) -> bool:
        """Return whether the thread has not ended."""
        return self._token() is not None

    def join(self) -> None:
        """Wait until the thread has ended."""
        # Polled, because anything that the thread had to do in order to be noticed could fail for want of memory.
        while self.is_alive():
            time.sleep(SECONDS_BETWEEN_LOOKS)


class _Pool(Generic[Item, Result]):
    """Threads that work on one queue of tasks.

    `ThreadPoolExecutor` is not used, because a thread of it that runs out of memory between two tasks ends without marking
    its task, and the consumer would wait for the result forever.
    """

    def __init__(self, work: Callable[[Item], Result], cores: int) -> None:
        self._work = work
        self._cores = cores
        self._tasks: SimpleQueue[_Task[Result] | None] = SimpleQueue()
        self._threads: list[_Worker] = []

    def start(self, count: int) -> None:
        """Start the threads; raises MemoryError if the system has no memory for the stack of one."""
        for _ in range(count):
            try:
                self._threads.append(_Worker(self._run))
            except RuntimeError as error:
                raise MemoryError(f"a loading thread cannot be started ({error})") from error

    def submit(self, item: Item) -> _Task[Result]:
        task: _Task[Result] = _Task(item)
        self._tasks.put(task)
        return task

    def result(self, task: _Task[Result]) -> Result:
        """Wait for the result of a task and return it, or raise the exception of its thread."""
        while not task.done.wait(SECONDS_BETWEEN_CHECKS):
            ended = not all(thread.is_alive() for thread in self._threads)
            # The thread may have finished the task after the wait and before the check.
            if ended and not task.done.is_set():
                raise MemoryError("a loading thread ended without a result")
        if task.error is not None:
            raise task.error
        return task.result  # pyright: ignore[reportReturnType]

    def close(self) -> None:
        """Drop the tasks that are not begun, and wait until the threads have ended."""
        try:
            while True:
                self._tasks.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, token: _Token) -> None:
        try:
            torch = sys.modules.get("torch")
            if torch is not None:
                # Otherwise torch would start a pool for all cores in each thread, and the pools would compete.
                torch.set_num_threads(self._cores)
            while (task := self._tasks.get()) is not None:
                self._finish(task)
                # Otherwise this thread would hold the batch while it waits for the next task.
                del task
        except BaseException:
            # The consumer notices that this thread has ended; a traceback here would come from the middle of nowhere.
            return
        finally:
            # The traceback of a task's exception holds this frame, and so the token, longer than the thread lives.
            del token

    def _finish(self, task: "_Task[Result]") -> None:
        try:
            task.result = self._work(task.item)
        except BaseException as error:
            task.error = error
        task.done.set()


def available_cores() -> int:
    """Return the cores that this process may use; in a container they are fewer than those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores(threads: int) -> int:
    """Return how many cores each of several threads that run a model may use, of those that this thread may use."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else max(1, torch.get_num_threads() // max(1, threads))


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch use one thread, for thousands of small matrices.

    Dividing a small matrix among threads takes longer than the work itself, and far longer on a busy machine.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
