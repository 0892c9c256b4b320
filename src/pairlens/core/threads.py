"""Work done ahead of time by threads, in order; and how many threads torch works with."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int = 2
) -> Iterator[Result]:
    """Map `work` over items in threads; results come in the order of the items, an exception at the place of its item.

    Decoding, resizing, encoding and hashing let go of Python's lock, so threads do them on as many cores. Unlike
    processes they start at once, share the catalog, and hand over a batch without copying it.

    Args:
        work: what to do with an item.
        items: taken one by one, in this thread, when there is room.
        threads: how many; 0 works in this thread.
        ahead: items a thread may be ahead of who takes the results, which bounds the memory.

    >>> list(map_in_order(abs, [3, -2, -1], threads=2))
    [3, 2, 1]
    """
    if threads < 1:
        yield from map(work, items)
        return
    # One core a thread: torch would start a team of threads in each, and these would wait for each other.
    pool = ThreadPoolExecutor(threads, "pairlens", torch.set_num_threads, (1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # The number is a thread's own, but the last one set is what threads to come begin with.
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch work with one thread.

    For thousands of small matrices: sharing each among threads takes longer, and many times as long where others work too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
