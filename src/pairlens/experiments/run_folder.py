"""The folder of a run: its files, its records, and how they are read and written."""

import json
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pairlens.core.files import (
    HOLDER_FILE,
    LOCK_FILE,
    check_folder_name,
    clear_folder,
    lock_folder,
    make_folder,
    remove_file,
    write_text,
)
from pairlens.core.records import VERSION, Record, from_plain, to_plain
from pairlens.core.settings import with_settings
from pairlens.core.suggestion import closest_folder
from pairlens.core.table import csv_text
from pairlens.core.untrusted import read_json, read_text
from pairlens.evaluation.embedding_stats import EmbeddingStats
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.splits import Splits, open_splits
from pairlens.experiments.stored_paths import as_opened, as_stored
from pairlens.losses.loss_import import open_stored
from pairlens.losses.loss_text import AnyLoss
from pairlens.model.embedder import WEIGHTS_FILE
from pairlens.training.checkpoint import has_checkpoint


@dataclass(frozen=True)
class OpenRun:
    """A run that has been opened: its settings, its photos and its result.

    Attributes:
        run_folder: where it lies.
        experiment: its settings, with the folder in which the data set lies now.
        splits: its photos.
        outcome: its result.
    """

    run_folder: "RunFolder"
    experiment: Experiment
    splits: Splits
    outcome: Outcome


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run; names, reads and writes its files."""

    path: Path

    @property
    def config(self) -> Path:
        """The experiment as JSON."""
        return self.path / "config.json"

    @property
    def outcome(self) -> Path:
        """The outcome as JSON: every report with its intervals."""
        return self.path / "outcome.json"

    @property
    def statistics(self) -> Path:
        """The table of training and retrieval, one row per epoch."""
        return self.path / "statistics.csv"

    @property
    def analysis(self) -> Path:
        """The table of statistics of seen and unseen photos, one row per epoch."""
        return self.path / "analysis.csv"

    @property
    def curves(self) -> Path:
        """The learning curves as a picture."""
        return self.path / "curves.png"

    @property
    def gallery(self) -> Path:
        """The embedded photos that are searched."""
        return self.path / "gallery.safetensors"

    @property
    def queries(self) -> Path:
        """The embedded queries; this file exists only if the queries are not in the gallery."""
        return self.path / "queries.safetensors"

    @property
    def class_values(self) -> Path:
        """The further metrics of each test class; this file exists only if further metrics are measured."""
        return self.path / "class_values.json"

    @property
    def class_sums(self) -> Path:
        """The metrics of the kept epoch, summed over each test class; runs of earlier versions lack it."""
        return self.path / "class_sums.safetensors"

    @property
    def baseline(self) -> Path:
        """The backbone as it comes, measured on the test photos; missing if it was not measured."""
        return self.path / "baseline.safetensors"

    @property
    def post(self) -> Path:
        """The test photos measured after post-processing; this file exists only if a comparison asked for it."""
        return self.path / "post_processed.safetensors"

    @property
    def has_model(self) -> bool:
        """Whether the run has its model and its embedded photos; a comparison may keep those of some runs only."""
        return (self.path / WEIGHTS_FILE).is_file() and self.gallery.is_file()

    @property
    def holds_model_files(self) -> bool:
        """Whether any file of the model or of embedded photos is there, perhaps after a removal that was interrupted."""
        return any(file.is_file() for file in (self.path / WEIGHTS_FILE, self.gallery, self.queries))

    def open(self, data_path: Path | None = None) -> OpenRun:
        """Open a run with its data set.

        Args:
            data_path: folder of the prepared data sets, if they have moved since the run was trained.

        Raises:
            ValueError: if this is no run folder, no epoch is finished, or the data set does not fit the experiment.
            FileNotFoundError: if the data set is not there.
        """
        # The outcome is read before the data set is opened, because a missing outcome is the more basic mistake.
        experiment = self.experiment(data_path)
        outcome = self.read_outcome()
        return OpenRun(self, experiment, open_splits(experiment), outcome)

    def create(self, experiment: Experiment) -> None:
        """Make the folder and write the experiment; raises ValueError if the folder is already in use."""
        if self.config.is_file() and (self.path / LOCK_FILE).is_file():
            # If another process is training this run, the message says so instead of advising to resume the run.
            with self.lock():
                pass
        self._check_unused()
        check_folder_name(self.path)
        try:
            make_folder(self.path)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be made ({error.strerror}); give another --runs folder") from error
        with self.lock():
            # Another process may have started a run here between the first check and the lock.
            self._check_unused()
            self.write_experiment(experiment)

    def _check_unused(self) -> None:
        # A run that was killed before it had written its experiment leaves only these files.
        leftovers = (LOCK_FILE, HOLDER_FILE, ".part")
        names = [file.name for file in self.path.iterdir()] if self.path.is_dir() else []
        if self.path.exists() and (not self.path.is_dir() or not all(name.endswith(leftovers) for name in names)):
            raise ValueError(
                f"{self.path} exists already and is never overwritten; resume it with pairlens train --resume {self.path}, "
                "give pairlens train another --name, or remove the folder"
            )

    def clear(self) -> None:
        """Delete everything in the folder but its lock, which is held meanwhile; a folder that is missing stays missing.

        Raises:
            ValueError: if another process is writing into it.
        """
        if not self.path.is_dir():
            return
        with self.lock():
            clear_folder(self.path, keep=(LOCK_FILE, HOLDER_FILE))

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from writing into the folder; raises ValueError if another process is writing into it."""
        return lock_folder(self.path)

    def write_experiment(self, experiment: Experiment) -> None:
        """Write the experiment, completely or not at all."""
        stored = as_stored(experiment, self.path)
        write_text(self.config, json.dumps(to_plain(stored), indent=2) + "\n")

    def experiment(
        self, data_path: Path | None = None, loss: AnyLoss | None = None, trust: Collection[str] = ()
    ) -> Experiment:
        """Read the experiment; raises ValueError if this is no run folder or holds unknown settings.

        A loss of another project is a `StoredLoss`, which shows its name and settings and cannot be computed, unless one of
        the last two arguments gives its code. Nothing that the file names is imported otherwise.

        Args:
            data_path: folder of the prepared data sets, if they have moved since the run was trained.
            loss: the loss of the run, if the caller has it at hand.
            trust: modules that may be imported to find the loss, such as {"my_code.losses"}.
        """
        if not self.config.is_file():
            meant = closest_folder(self.path, self.config.name)
            remedy = f"it has no {self.config.name}" if meant is None else f"did you mean {meant}?"
            raise ValueError(f"{self.path} is not the folder of a run: {remedy}")
        experiment = _read(Experiment, self.config, "restore it or train again")
        experiment = replace(experiment, loss=open_stored(experiment.loss, loss, trust))
        # Version 1 stored paths as they were given, which lead from the folder in which the command was started.
        if read_json(self.config).get(VERSION, 1) != 1:
            experiment = as_opened(experiment, self.path)
        return with_settings(experiment, {} if data_path is None else {"data_path": data_path})

    def read_outcome(self) -> Outcome:
        """Read the outcome; raises ValueError if no epoch is finished."""
        if not self.outcome.is_file():
            raise ValueError(
                f"{self.path} has no finished epoch; resume training with pairlens train --resume {self.path}"
            )
        return _read(Outcome, self.outcome, self.remedy)

    @property
    def remedy(self) -> str:
        """What to do about a damaged file of the run."""
        if has_checkpoint(self.path):
            return f"write it again with pairlens train --resume {self.path}"
        return f"remove {self.path} and train it again, in a comparison with the same command"

    def has_all_epochs(self) -> bool:
        """Return whether the run is finished; raises ValueError if a file is damaged."""
        # The outcome is written after every evaluated epoch, as the last of the files, and the last epoch is evaluated.
        if not self.outcome.is_file():
            return False
        return self.read_outcome().rows[-1].epoch >= self.experiment().run.epochs

    def holds(self, outcome: Outcome) -> bool:
        """Whether the outcome on disk is this one; it is written last, so then all other files are up to date too."""
        try:
            return read_text(self.outcome) == _outcome_text(outcome)
        except (OSError, ValueError):
            return False

    def write_tables(self, outcome: Outcome) -> None:
        """Write the tables of the epochs, each completely or not at all."""
        # As in the original project, the table starts with epoch 1; the columns are known from epoch 0 if that is all.
        trained = [statistics_row(row) for row in outcome.rows if row.epoch > 0]
        _write_table(self.statistics, trained, list(statistics_row(outcome.rows[0])))
        if any(row.unseen for row in outcome.rows):
            rows = [_analysis_row(row) for row in outcome.rows]
            _write_table(self.analysis, rows, list(rows[0]))

    def write_outcome(self, outcome: Outcome) -> None:
        """Write the outcome, completely or not at all."""
        write_text(self.outcome, _outcome_text(outcome))

    def read_embeddings(self) -> RetrievalSet:
        """Read the embeddings of the kept model; raises ValueError if a file is missing or damaged."""
        if self.outcome.is_file() and not self.holds_model_files:
            raise ValueError(
                f"{self.path} has not kept its model and its embedded photos: its comparison keeps those of the first "
                "finished seed of each loss (--keep first_seed); give the folder of that seed"
            )
        # Without a file of queries, the photos of the gallery are the queries.
        items = Embeddings.load(self.gallery)
        return RetrievalSet(Embeddings.load(self.queries), items) if self.queries.is_file() else RetrievalSet(items)

    def write_embeddings(self, test: RetrievalSet) -> None:
        """Write the gallery, and the queries if they are other photos; they have the fingerprint of their model."""
        test.items.save(self.gallery)
        if test.gallery is not None:
            test.queries.save(self.queries)

    def remove_model(self) -> None:
        """Delete the weights and the embedded photos of a finished run, whose results stay; the caller holds its lock."""
        # In this order, because a gallery that is left without its queries would be read as the whole test set.
        for file in (self.path / WEIGHTS_FILE, self.gallery, self.queries):
            remove_file(file)


def open_run(folder: Path, data_path: Path | None = None) -> OpenRun:
    """Open the run in a folder with its data set; see `RunFolder.open`."""
    return RunFolder.open(RunFolder(folder), data_path)


def _outcome_text(outcome: Outcome) -> str:
    return json.dumps(to_plain(outcome), indent=1) + "\n"


def _write_table(file: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    cells = [[row.get(column) for column in columns] for row in rows]
    # The line ends are those of the original project.
    write_text(file, csv_text([columns, *cells], "\r\n"))


def _analysis_row(row: EpochRow) -> dict[str, float | int | None]:
    names = [f.name for f in fields(EmbeddingStats)]
    # A missing record gives empty cells, so that all rows have the same columns.
    columns = {
        f"{prefix}_{name}": getattr(stats, name, None)
        for prefix, stats in (("seen", row.seen), ("unseen", row.unseen))
        for name in names
    }
    return {"epoch": row.epoch, "gradient_cosine": row.gradient_cosine, **columns}


def statistics_row(row: EpochRow) -> dict[str, float | int | None]:
    """Return the columns of `statistics.csv` for an epoch, shares in percent; None is an empty cell."""
    accuracy = None if row.train_accuracy is None else 100 * row.train_accuracy
    return {
        "epoch": row.epoch,
        "train_loss": row.train_loss,
        "train_accuracy": accuracy,
        **metric_columns("test", row.report),
        **metric_columns("validation", row.validation),
        "mean_s_p": row.mean_s_p,
        "mean_s_n": row.mean_s_n,
        "gradient_cosine": row.gradient_cosine,
        "skipped": row.skipped,
        "seconds": row.seconds,
    }


def metric_columns(prefix: str, report: Report | None) -> dict[str, float]:
    """Return the metrics in percent under the column names of the original project, such as test_recall@1 for R@1."""
    if report is None:
        return {}
    names = {"R": "recall", "P": "precision"}
    columns = {}
    for metric in report.metrics:
        # R-Precision and MAP@R keep their names.
        letter, at, k = metric.name.partition("@")
        name = f"{names[letter]}@{k}" if at and letter in names else metric.name
        columns[f"{prefix}_{name}"] = 100 * metric.value
    return columns


def _read(kind: type[Record], file: Path, advice: str) -> Record:
    try:
        plain = read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); {advice}") from error
    try:
        return from_plain(kind, plain, str(file))
    except ValueError as error:
        # Errors of a record itself, such as a setting out of range, do not name the file.
        reason = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise ValueError(f"{reason}, unless it is of another version of Pairlens; {advice}") from error
