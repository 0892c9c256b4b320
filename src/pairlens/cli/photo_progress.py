"""Progress of work on many photos: a bar on a terminal, a line now and then in a file or a pipe."""

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


class PhotoProgress:
    """Shows how many photos are done; call it with the numbers of photos that are done and of all."""

    def __init__(self, console: Console, title: str) -> None:
        """Prepare a bar with a title; use it in a `with` statement."""
        self._console = console
        self._title = title
        self._start = self._last_line = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` photos are done."""
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        # A log file would be flooded by a line per photo.
        if not self._console.is_terminal and now - self._last_line > SECONDS_BETWEEN_LINES and done:
            self._last_line = now
            left = timedelta(seconds=round((now - self._start) * (total - done) / done))
            self._console.print(f"  {self._title} {done:,} of {total:,}  about {left} left", highlight=False)
