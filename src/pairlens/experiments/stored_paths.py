"""Paths in stored settings, relative to the folder that holds them: a project can be moved, and used from any folder."""

import os
from collections.abc import Callable
from pathlib import Path

from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment

NO_FILE = ("imagenet", "none")


def as_stored(experiment: Experiment, folder: Path) -> Experiment:
    """Return the settings as they are stored in a folder: relative paths lead from there, absolute ones are kept."""
    base = folder.resolve()
    return _with_paths(experiment, lambda path: _relative(Path(os.path.normpath(Path.cwd() / path)), base))


def as_opened(experiment: Experiment, folder: Path) -> Experiment:
    """Return stored settings with paths that lead from the current folder if they stay inside it, else absolute ones."""
    base = folder.resolve()
    here = Path.cwd()

    def opened(path: Path) -> Path:
        # Without reading the disk: a link in the path, such as a data folder on another disk, stays in it.
        absolute = Path(os.path.normpath(base / path))
        return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute

    return _with_paths(experiment, opened)


def _relative(path: Path, base: Path) -> Path:
    try:
        return Path(os.path.relpath(path, base))
    # On Windows no relative path leads to another drive.
    except ValueError:
        return path


def _with_paths(experiment: Experiment, change: Callable[[Path], Path]) -> Experiment:
    """Return the experiment with its relative paths changed."""
    changes = {}
    if not experiment.data.path.is_absolute():
        changes["data_path"] = change(experiment.data.path)
    if experiment.weights not in NO_FILE and not Path(experiment.weights).is_absolute():
        changes["weights"] = change(Path(experiment.weights)).as_posix()
    if experiment.data.holds_features and not Path(experiment.data.source).is_absolute():
        changes["source"] = change(Path(experiment.data.source)).as_posix()
    return with_settings(experiment, changes)
