"""A value that is derived from a collection and takes long: the last one is shown while a new one is computed."""

import logging
import time
from collections.abc import Callable
from threading import Lock, Thread
from typing import Generic, TypeVar

Value = TypeVar("Value")
_LOG = logging.getLogger("pairlens.serving")


class Refreshed(Generic[Value]):
    """Computes a value in a thread when somebody asks for it and the collection has changed since the last time."""

    def __init__(self, change: Callable[[], int], compute: Callable[[], Value], seconds: float = 5.0) -> None:
        """Prepare; nothing is computed yet.

        Args:
            change: returns the number of the collection's last change.
            compute: returns the value as it is now.
            seconds: how old a value must be before a new one is computed.
        """
        self._change = change
        self._compute = compute
        self._seconds = seconds
        self._lock = Lock()
        self._thread: Thread | None = None
        self._value: Value | None = None
        self._error: Exception | None = None
        self._of_change = -1
        self._finished = float("-inf")

    def get(self) -> Value | None:
        """Return the last value at once, None before the first one; raises what computing it has raised."""
        change = self._change()
        with self._lock:
            is_old = change != self._of_change and time.monotonic() - self._finished > self._seconds
            if is_old and self._thread is None:
                self._thread = Thread(target=self._refresh, args=(change,), daemon=True, name="pairlens refresh")
                self._thread.start()
            if self._error is not None:
                raise self._error
            return self._value

    def wait(self) -> Value:
        """Return the value, and wait for the first one."""
        value = self.get()
        thread = self._thread
        if value is None and thread is not None:
            thread.join()
            value = self.get()
        if value is None:
            raise ValueError("this is not computed yet; ask again in a moment")
        return value

    def _refresh(self, change: int) -> None:
        value: Value | None = None
        error: Exception | None = None
        try:
            value = self._compute()
        except Exception as raised:
            _LOG.warning("a value could not be computed: %s", raised)
            error = raised
        with self._lock:
            self._value, self._error = (value, error) if error is None else (self._value, error)
            self._of_change, self._finished, self._thread = change, time.monotonic(), None
