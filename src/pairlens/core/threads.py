"""Ordered prefetching by a pool of threads, and the number of threads that torch uses."""

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
    """Map `work` over items in threads; results come in the order of the items, and so do exceptions.

    Decoding, resizing, encoding and hashing release Python's global interpreter lock, so threads run them on as many
    cores. Unlike processes, threads start at once, share the catalog, and hand over a batch without copying it.

    Args:
        work: function of one item.
        items: read one by one, in the calling thread.
        threads: number of threads; 0 runs `work` in the calling thread.
        ahead: items per thread that may be submitted before their results are consumed, which bounds the memory.

    >>> list(map_in_order(abs, [3, -2, -1], threads=2))
    [3, 2, 1]
    """
    if threads < 1:
        yield from map(work, items)
        return
    # One core per thread: otherwise torch would start its own pool in each thread, and the pools would compete.
    pool = ThreadPoolExecutor(threads, "pairlens", torch.set_num_threads, (1,))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            # The oldest result is waited for, so results keep the order of the items.
            if len(pending) >= ahead * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Also reached when the consumer stops early and the generator is closed.
        pool.shutdown(wait=True, cancel_futures=True)
        # `set_num_threads` is per thread, but new threads inherit the last value set; restore it.
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch use one thread, for thousands of small matrices.

    Dividing a small matrix among threads takes longer than the work itself, and far longer on a busy machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
