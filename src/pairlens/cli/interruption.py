"""Interruption by Ctrl-C: whatever exception it becomes, it ends in one sentence that says how to go on."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SENTENCE = "interrupted. Give the same command again"
# An exception that comes later than this after Ctrl-C has another cause.
SECONDS_TO_END = 20.0


class InterruptedWorkError(Exception):
    """Work that was interrupted; the message says how to go on."""


class _Signal:
    """When Ctrl-C was pressed last."""

    time = float("-inf")


@contextmanager
def watch_for_interruption() -> Iterator[None]:
    """Note the time of Ctrl-C, so that `was_interrupted` knows it.

    While a library is imported, a KeyboardInterrupt may come out of it as another exception.
    """
    ordinary = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # Only the main thread may set handlers; a process that was started to ignore Ctrl-C goes on ignoring it.
    if not ordinary or threading.current_thread() is not threading.main_thread():
        yield
        return
    _Signal.time = float("-inf")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        # A second Ctrl-C must not add a traceback while the process ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN if _is_recent() else signal.default_int_handler)


def _interrupt(number: int, frame: object) -> None:
    _Signal.time = time.monotonic()
    raise KeyboardInterrupt


def _is_recent() -> bool:
    return time.monotonic() - _Signal.time < SECONDS_TO_END


def was_interrupted(error: BaseException) -> bool:
    """Return whether Ctrl-C is the reason for an exception."""
    return isinstance(error, KeyboardInterrupt) or (not isinstance(error, SystemExit) and _is_recent())


@contextmanager
def say_how_to_go_on(sentence: Callable[[], str]) -> Iterator[None]:
    """Raise InterruptedWorkError with a sentence if Ctrl-C ends the block.

    Args:
        sentence: called after the interruption, because what is left depends on when it came.
    """
    try:
        yield
    except BaseException as error:
        if not was_interrupted(error) or isinstance(error, InterruptedWorkError):
            raise
        raise InterruptedWorkError(sentence()) from error
