"""Sending the records of a run to its trackers: each epoch once, also when the run was interrupted and resumed."""

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pairlens.core.distributed import rank
from pairlens.core.files import write_text
from pairlens.core.records import from_plain, require, to_plain
from pairlens.core.settings import flat_settings
from pairlens.core.untrusted import read_json
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.metric_spec import metric_text
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.run_folder import RunFolder, metric_columns, statistics_row
from pairlens.experiments.trackers import KEPT_EPOCH, Tracker, TrackerName, open_tracker
from pairlens.losses.loss_text import loss_text, miner_text

TRACKERS_FILE = "trackers.json"

# Draws further pictures of a finished run into its folder, and returns them.
DrawPictures: TypeAlias = Callable[[Path], Sequence[Path]]


@dataclass(frozen=True)
class TrackedRun:
    """How far a run has been sent to a tracker.

    Attributes:
        tracker: its name.
        identity: how the tracker calls the run.
        epoch: the last epoch that was sent.
        ended: whether the outcome was sent too.
    """

    tracker: TrackerName
    identity: str
    epoch: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        # The identity becomes a part of paths and addresses of the tracker.
        require(
            re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.identity) is not None,
            f"the run of {self.tracker} has the identity {self.identity[:80]!r}, which must be letters and digits",
        )


@dataclass(frozen=True)
class TrackedRuns:
    """The trackers of a run: the content of its `trackers.json`.

    Attributes:
        runs: one record per tracker.
    """

    runs: tuple[TrackedRun, ...] = ()

    @staticmethod
    def read(folder: Path) -> "TrackedRuns":
        """Read the file of a run folder, none if there is no file; raises ValueError if it is damaged."""
        file = folder / TRACKERS_FILE
        if not file.is_file():
            return TrackedRuns()
        try:
            return from_plain(TrackedRuns, read_json(file), str(file))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} is damaged ({error}); remove it, and every epoch is logged again") from error

    def of(self, name: TrackerName) -> TrackedRun | None:
        """Return the record of a tracker, None if it was never used."""
        return next((run for run in self.runs if run.tracker == name), None)

    def with_run(self, run: TrackedRun) -> "TrackedRuns":
        """Return the records with another record of one tracker."""
        return TrackedRuns((*(one for one in self.runs if one.tracker != run.tracker), run))


class RunLog:
    """The open trackers of a run.

    A tracker that fails, for example because its server does not answer, does not end the training: the failure is a
    warning, and the epochs that it has missed are sent again after the next one.

    Args:
        run_folder: the folder of the run.
        draw: draws further pictures at the end.
    """

    def __init__(self, run_folder: RunFolder, draw: DrawPictures | None = None) -> None:
        self.run_folder = run_folder
        self.draw = draw
        self.state = TrackedRuns()
        self.open: dict[TrackerName, Tracker] = {}

    def start(self, experiment: Experiment) -> None:
        """Open the trackers that an experiment names; those that have the whole run already stay closed."""
        folder = self.run_folder.path
        self.state = TrackedRuns.read(folder)
        for name in experiment.run.log:
            known = self.state.of(name)
            if known is None or not known.ended:
                tracker = open_tracker(name, folder, _title(experiment, folder))
                self._start(name, tracker, plain_settings(experiment), known)

    def _start(self, name: TrackerName, tracker: Tracker, settings: dict[str, Any], known: TrackedRun | None) -> None:
        try:
            identity = tracker.start(settings, known.identity if known else "")
        except (ValueError, OSError):
            raise
        # The libraries raise errors of many kinds: here a server does not answer, or asks for a key.
        except Exception as error:
            raise ValueError(
                f"--log {name} cannot start ({type(error).__name__}: {error}); correct that, and resume with "
                f"pairlens train --resume {self.run_folder.path}"
            ) from error
        self.open[name] = tracker
        # A run that the tracker does not know any more is sent again from its first epoch.
        if known is None or known.identity != identity:
            self._write(TrackedRun(name, identity))

    def _write(self, run: TrackedRun) -> None:
        self.state = self.state.with_run(run)
        write_text(self.run_folder.path / TRACKERS_FILE, json.dumps(to_plain(self.state), indent=1) + "\n")

    def send(self, rows: Sequence[EpochRow]) -> None:
        """Send the epochs that were not sent yet; like `statistics.csv`, without epoch 0."""
        for name, tracker in self.open.items():
            with _warned(name):
                for row in rows:
                    run = self._run(name)
                    if row.epoch > run.epoch:
                        tracker.epoch(_numbers(statistics_row(row)))
                        # Written after each epoch, so that a run that is killed sends at most one epoch twice.
                        self._write(replace(run, epoch=row.epoch))

    def _run(self, name: TrackerName) -> TrackedRun:
        run = self.state.of(name)
        assert run is not None, "every open tracker was started"
        return run

    def end(self) -> None:
        """Send the figures of the finished run and its pictures, and close all trackers."""
        if not self.open:
            return
        figures = outcome_figures(self.run_folder.read_outcome())
        pictures = [self.run_folder.curves]
        with _warned("drawing pictures"):
            pictures += self.draw(self.run_folder.path) if self.draw is not None else []
        while self.open:
            name, tracker = self.open.popitem()
            with _warned(name):
                tracker.end(figures, {file.stem: file for file in pictures})
                self._write(replace(self._run(name), ended=True))

    def close(self) -> None:
        """Close the trackers that are still open, because the run was interrupted."""
        while self.open:
            name, tracker = self.open.popitem()
            with _warned(name):
                tracker.end(None, {})


@contextmanager
def run_log(experiment: Experiment, run_folder: RunFolder, draw: DrawPictures | None = None) -> Iterator[RunLog]:
    """Open the trackers of a run, and close them however the block ends.

    Args:
        experiment: the settings of the run.
        run_folder: its folder.
        draw: draws further pictures at the end.

    Raises:
        ValueError: if a tracker cannot start, or its files in the run folder are damaged or lead out of it.
    """
    log = RunLog(run_folder, draw)
    try:
        # Rank 0 alone writes.
        if rank() == 0 and experiment.run.log:
            log.start(experiment)
        yield log
    finally:
        log.close()


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Turn any error of a tracker into a warning."""
    try:
        yield
    # The libraries raise errors of many kinds, their own and those of networks, and none is worth the training.
    except Exception as error:
        warnings.warn(f"--log: {what} failed ({type(error).__name__}: {error}); training goes on", stacklevel=4)


def plain_settings(experiment: Experiment) -> dict[str, Any]:
    """Return all settings of a run as numbers, truth values and texts, and those of its loss as `loss.NAME`.

    >>> settings = plain_settings(Experiment())
    >>> settings["loss"], settings["loss.margin"], settings["dim"], settings["recalls"]
    ('triplet:margin=0.1,measure="distance",soft=false', 0.1, 1536, '1,2,4,8')
    """
    loss = experiment.loss
    values = flat_settings(experiment) | {
        "loss": loss_text(loss),
        "miner": miner_text(experiment.miner),
        "metrics": tuple(map(metric_text, experiment.evaluation.metrics)),
    }
    if is_dataclass(loss):
        values |= {f"loss.{f.name}": getattr(loss, f.name) for f in fields(loss)}
    return {name: _plain_value(value) for name, value in values.items() if name != "log"}


def _plain_value(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value.as_posix() if isinstance(value, Path) else str(value)


def outcome_figures(outcome: Outcome) -> dict[str, float]:
    """Return the figures of a finished run, shares in percent: the kept epoch's, and those it is compared with."""
    figures: dict[str, Any] = {KEPT_EPOCH: outcome.epoch}
    for name, report in [("kept", outcome.report), *outcome.baselines]:
        figures |= {f"{name}/{column}": value for column, value in metric_columns("test", report).items()}
    return _numbers({name.replace(" ", "_"): value for name, value in figures.items()})


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    """Return a row without its empty cells; trackers differ in what they make of a value that is no number."""
    return {name: value for name, value in row.items() if value is not None and math.isfinite(value)}


def _title(experiment: Experiment, folder: Path) -> str:
    """Return the name of a run: that of its folder, unless this says the seed only, as in a comparison."""
    named = experiment.default_name
    return named if named.endswith(f"_{folder.name}") else folder.name
