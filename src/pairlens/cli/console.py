"""What a person sees while a run goes on: a progress bar on a terminal, plain lines in a file."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pairlens.core.untrusted import strip_control_characters
from pairlens.experiments.run import Event
from pairlens.experiments.run_folder import EpochRow
from pairlens.training.fit import Step

SECONDS_BETWEEN_LINES = 30.0
WIDTH_IN_FILES = 160


def open_console() -> Console:
    """Return the terminal, or a wide page where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_IN_FILES)


@dataclass(eq=False)
class Display:
    """Shows the events of a run; use it as a context.

    Attributes:
        console: where to write.
        epochs: how many epochs the run has.
        title: what to call the run.
    """

    console: Console
    epochs: int
    title: str = ""
    _bar: Progress = field(init=False)
    _task: TaskID = field(init=False)
    _clock: "_Clock" = field(init=False)

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("starting", total=None)
        self._clock = _Clock()

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event of the run."""
        if isinstance(event, EpochRow):
            self.console.print(_epoch_line(event, self.epochs, self.title), highlight=False, soft_wrap=True)
            self._clock.restart()
        else:
            self._show_step(event)

    def watch(self, batches: Iterable, count: int) -> Iterator:
        """Show how far the embedding of a data set has come."""
        self._bar.reset(self._task, description=f"{self.title} embedding", total=count)
        for batch in batches:
            yield batch
            self._bar.advance(self._task)

    def _show_step(self, step: Step) -> None:
        rate, left = self._clock.estimate(step, self.epochs)
        accuracy = "" if step.accuracy != step.accuracy else f"  accuracy {100 * step.accuracy:.1f} %"
        text = f"{self.title} epoch {step.epoch}/{self.epochs}  loss {step.loss:.4f}{accuracy}  {rate:.0f} images/s"
        text = f"{text}  about {_duration(left)} left".strip()
        self._bar.update(self._task, description=text, completed=step.step, total=step.steps)
        if not self.console.is_terminal and self._clock.line_is_due():
            self.console.print(f"  {text}  step {step.step}/{step.steps}", highlight=False, soft_wrap=True)


class _Clock:
    """Photos a second over the present epoch, and the time that the remaining steps will take."""

    def __init__(self) -> None:
        self.restart()
        self.last_line = time.perf_counter()

    def restart(self) -> None:
        self.start, self.photos, self.steps = time.perf_counter(), 0, 0

    def estimate(self, step: Step, epochs: int) -> tuple[float, float]:
        self.photos, self.steps = self.photos + step.photos, self.steps + 1
        seconds = time.perf_counter() - self.start
        left = (epochs - step.epoch) * step.steps + step.steps - step.step
        return self.photos / seconds, seconds / self.steps * left

    def line_is_due(self) -> bool:
        due = time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES
        if due:
            self.last_line = time.perf_counter()
        return due


def _duration(seconds: float) -> str:
    """Write seconds as a person would.

    >>> _duration(42), _duration(3700)
    ('42 s', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _epoch_line(row: EpochRow, epochs: int, title: str) -> str:
    found = "  ".join(f"{m.name} {100 * m.value:.2f}" for m in row.report.metrics)
    learned = "untrained" if row.train_loss is None else f"loss {row.train_loss:.4f}"
    if row.train_accuracy is not None:
        learned += f"  accuracy {100 * row.train_accuracy:.1f} %"
    means = (("s_p", row.mean_s_p), ("s_n", row.mean_s_n))
    similarities = "  ".join(f"{name} {mean:.3f}" for name, mean in means if mean is not None)
    if row.skipped:
        learned += f"  {row.skipped} steps left out, not finite"
    head = f"{title} epoch {row.epoch}/{epochs}".strip()
    return f"{head}  {learned}  |  {found}  |  {similarities}  |  {_duration(row.seconds)}"


def say(line: str) -> None:
    """Print one line at once, also into a pipe; what a terminal would obey is written out."""
    print(strip_control_characters(line), flush=True)  # noqa: T201
