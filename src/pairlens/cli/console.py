"""Progress of a run and lines of text: a progress bar on a terminal, plain lines in a file or a pipe."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pairlens.cli.tables import terminal_tables
from pairlens.core.table import Table
from pairlens.core.untrusted import strip_control_characters
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run import Event
from pairlens.training.fit import Step

SECONDS_BETWEEN_LINES = 30.0
# Over how many seconds the speed is averaged; a step of a large model takes several.
SPEED_SECONDS = 120.0


def show_table(console: Console, table: Table) -> None:
    """Print a table of numbers so that it fits the terminal."""
    for part in terminal_tables(table, console.width):
        console.print(part)
    for note in table.notes:
        console.print(note, style="dim", highlight=False, markup=False)


@dataclass(eq=False)
class Display:
    """Shows the events of a run; use it as a context manager.

    Attributes:
        console: where to write.
        epochs: number of epochs of the run.
        title: the name of the run.
    """

    console: Console
    epochs: int
    title: str = ""
    _bar: Progress = field(init=False)
    _training: TaskID = field(init=False)
    _embedding: TaskID = field(init=False)
    _last_line: float = field(init=False)

    def __post_init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns,
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            speed_estimate_period=SPEED_SECONDS,
        )
        # Two tasks, so that the time for embedding does not count as time for training steps.
        self._training = self._bar.add_task("starting", total=None)
        self._embedding = self._bar.add_task("embedding", total=None, visible=False)
        self._last_line = time.monotonic()

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event of the run; `Started` is shown by the command `train` alone."""
        if isinstance(event, EpochRow):
            self.console.print(_epoch_line(event, self.epochs, self.title), highlight=False, soft_wrap=True)
            # The speed is measured again in every epoch, without the evaluation between two epochs.
            self._bar.reset(self._training, completed=int(self._bar.tasks[self._training].completed))
        elif isinstance(event, Step):
            self._show_step(event)

    def print_line(self, line: str) -> None:
        """Print one line of text above the progress bar; control characters, which a terminal obeys, are made visible."""
        self.console.print(strip_control_characters(line), highlight=False, markup=False, soft_wrap=True)

    def watch(self, batches: Iterable, count: int) -> Iterator:
        """Yield batches while showing how many of a data set's batches are embedded."""
        self._bar.reset(self._embedding, description=f"{self.title} embedding".strip(), total=count, visible=True)
        for batch in batches:
            yield batch
            self._bar.advance(self._embedding)
        self._bar.update(self._embedding, visible=False)

    def _show_step(self, step: Step) -> None:
        # The task counts the steps of all epochs, so that the remaining time is that of the whole run.
        done = (step.epoch - 1) * step.steps + step.step
        self._bar.update(self._training, completed=done, total=self.epochs * step.steps)
        task = self._bar.tasks[self._training]
        # Without the auxiliary loss there is no accuracy; the step then holds NaN.
        accuracy = "" if math.isnan(step.accuracy) else f"  accuracy {100 * step.accuracy:.1f} %"
        # After the first step of an epoch the speed is not known yet.
        speed = "" if not task.speed else f"  {task.speed * step.photos:.0f} images/s"
        text = f"{self.title} epoch {step.epoch}/{self.epochs}  loss {step.loss:.4f}{accuracy}{speed}".strip()
        self._bar.update(self._training, description=text)
        # A log file would be flooded by a line per step.
        if not self.console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = "" if task.time_remaining is None else f"  about {timedelta(seconds=int(task.time_remaining))} left"
            self.console.print(f"  {text}  step {step.step}/{step.steps}{left}", highlight=False, soft_wrap=True)


def _epoch_line(row: EpochRow, epochs: int, title: str) -> str:
    metrics = "  ".join(f"{metric.name} {metric.percent(1)}" for metric in row.report.metrics)
    training = "before training" if row.train_loss is None else f"loss {row.train_loss:.4f}"
    if row.train_accuracy is not None:
        training += f"  accuracy {100 * row.train_accuracy:.1f} %"
    if row.skipped:
        training += f"  {row.skipped} steps skipped because their loss was not finite"
    means = (("s_p", row.mean_s_p), ("s_n", row.mean_s_n))
    cosines = "  ".join(f"{name} {mean:.3f}" for name, mean in means if mean is not None)
    head = f"{title} epoch {row.epoch}/{epochs}".strip()
    return f"{head}  {training}  |  {metrics}  |  {cosines}  |  {timedelta(seconds=round(row.seconds))}"
