"""The folder of a run: what lies in it and under which name."""

import csv
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from pairlens.core.files import HOLDER_FILE, LOCK_FILE, lock_folder, write_text
from pairlens.core.records import Record, from_plain, to_plain
from pairlens.core.untrusted import read_json
from pairlens.evaluation.embedding_stats import EmbeddingStats
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.experiment import Experiment, Select


@dataclass(frozen=True)
class EpochRow:
    """One epoch in numbers: a row of `statistics.csv`, where shares are in percent, as history has them.

    Attributes:
        epoch: from 1; 0 is the model before training.
        train_loss: mean total loss a photo; None before training.
        train_accuracy: of the auxiliary head, 0 to 1; None without one.
        report: retrieval on the test photos.
        mean_s_p: mean cosine of the positive pairs of the test photos (query with gallery, where these are apart); None
            if there are none.
        mean_s_n: mean cosine of their negative pairs.
        seconds: training and evaluation together.
        validation: retrieval on the held-out training classes, if there are any.
        gradient_cosine: of ranking and auxiliary loss at the backbone's last map, in the last step of the epoch; None
            without an auxiliary loss.
        seen: shape of the photos of the last training steps, as the network saw them; None before training, or if not
            asked for.
        unseen: shape of some whole test classes; None if not asked for.
        skipped: how many steps were left out, because they were not finite.
    """

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    report: Report
    mean_s_p: float | None
    mean_s_n: float | None
    seconds: float
    validation: Report | None = None
    gradient_cosine: float | None = None
    seen: EmbeddingStats | None = None
    unseen: EmbeddingStats | None = None
    skipped: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        select: how the kept epoch was chosen.
        epoch: the epoch whose model and gallery are kept.
        rows: the untrained model (epoch 0) and every finished epoch.

    Raises:
        ValueError: if the kept epoch is not among the rows.
    """

    select: Select
    epoch: int
    rows: tuple[EpochRow, ...]

    def __post_init__(self) -> None:
        if self.epoch not in {row.epoch for row in self.rows}:
            raise ValueError(f"epoch {self.epoch} was kept, but there is no row of it")
        names = {tuple(metric.name for metric in row.report.metrics) for row in self.rows}
        if len(names) > 1 or () in names:
            raise ValueError("its epochs have different metrics, or none")

    @property
    def untrained(self) -> Report:
        """The test report of the model before training."""
        return self.rows[0].report

    @property
    def report(self) -> Report:
        """The test report of the kept epoch."""
        return next(row.report for row in self.rows if row.epoch == self.epoch)

    @property
    def selection(self) -> str:
        """How the kept epoch was chosen, in words to print wherever its figures are shown."""
        match self.select:
            case "last":
                return f"last epoch ({self.epoch})"
            case "validation":
                return f"epoch {self.epoch}, selected on held-out training classes"
            case "test":
                return f"epoch {self.epoch}, selected on test: optimistic"


@dataclass(frozen=True)
class RunFolder:
    """Names and opens the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The experiment."""
        return self.path / "config.json"

    @property
    def outcome(self) -> Path:
        """Every report with its intervals."""
        return self.path / "outcome.json"

    @property
    def statistics(self) -> Path:
        """One row an epoch."""
        return self.path / "statistics.csv"

    @property
    def analysis(self) -> Path:
        """The shape of seen and unseen photos, one row an epoch."""
        return self.path / "analysis.csv"

    @property
    def curves(self) -> Path:
        """The learning curves as a picture."""
        return self.path / "curves.png"

    @property
    def gallery(self) -> Path:
        """The embedded photos that can be searched."""
        return self.path / "gallery.safetensors"

    @property
    def queries(self) -> Path:
        """The embedded query photos, for data sets whose queries are not in the gallery."""
        return self.path / "queries.safetensors"

    def create(self, experiment: Experiment) -> None:
        """Make the folder and write the experiment; raises ValueError rather than touch one that exists."""
        if self.config.is_file() and (self.path / LOCK_FILE).is_file():
            with self.alone():
                pass
        self._refuse_if_used()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be made ({error.strerror}); give another --runs folder") from error
        with self.alone():
            self._refuse_if_used()
            self.write_experiment(experiment)

    def _refuse_if_used(self) -> None:
        # A run that was killed before it had written its experiment has left nothing that is worth keeping.
        worthless = (LOCK_FILE, HOLDER_FILE, self.config.name + ".part")
        if self.path.exists() and (not self.path.is_dir() or {f.name for f in self.path.iterdir()} - {*worthless}):
            raise ValueError(
                f"{self.path} exists already and is never overwritten; go on with pairlens train --resume {self.path}, "
                "give pairlens train another --name, or remove the folder"
            )

    def alone(self) -> AbstractContextManager[None]:
        """Hold the folder, so that no other process writes into it; raises ValueError if one does."""
        return lock_folder(self.path)

    def write_experiment(self, experiment: Experiment) -> None:
        """Write the experiment, whole or not at all."""
        write_text(self.config, json.dumps(to_plain(experiment), indent=2) + "\n")

    def experiment(self) -> Experiment:
        """Read the experiment back; raises ValueError if this is no run folder or holds unknown settings."""
        if not self.config.is_file():
            raise ValueError(f"{self.path} is not the folder of a run: it has no {self.config.name}")
        return _read(Experiment, self.config, "restore it or train anew")

    def read_outcome(self) -> Outcome:
        """Read the outcome back; raises ValueError if no epoch is finished."""
        if not self.outcome.is_file():
            raise ValueError(f"{self.path} has no finished epoch; go on with pairlens train --resume {self.path}")
        return _read(Outcome, self.outcome, f"write it anew with pairlens train --resume {self.path}")

    def holds(self, outcome: Outcome) -> bool:
        """Whether this very outcome is written, and so everything that is written before it."""
        try:
            return self.outcome.read_text(encoding="utf-8") == _text(outcome)
        except (OSError, UnicodeDecodeError):
            return False

    def write_tables(self, outcome: Outcome) -> None:
        """Write the tables of epochs, each whole or not at all."""
        trained = [_csv_row(row) for row in outcome.rows if row.epoch > 0]
        _write_table(self.statistics, trained, list(_csv_row(outcome.rows[0])))
        if any(row.unseen for row in outcome.rows):
            rows = [_analysis_row(row) for row in outcome.rows]
            _write_table(self.analysis, rows, list(rows[0]))

    def write_outcome(self, outcome: Outcome) -> None:
        """Write the reports, whole or not at all."""
        write_text(self.outcome, _text(outcome))


def _text(outcome: Outcome) -> str:
    return json.dumps(to_plain(outcome), indent=1) + "\n"


def _write_table(file: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    buffer = StringIO(newline="")
    writer = csv.DictWriter(buffer, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, buffer.getvalue())


def _analysis_row(row: EpochRow) -> dict[str, float | int | None]:
    shapes = (("seen", row.seen), ("unseen", row.unseen))
    names = [f.name for f in fields(EmbeddingStats)]
    columns = {f"{which}_{name}": getattr(shape, name, None) for which, shape in shapes for name in names}
    return {"epoch": row.epoch, "gradient_cosine": row.gradient_cosine, **columns}


def _csv_row(row: EpochRow) -> dict[str, float | int | None]:
    accuracy = None if row.train_accuracy is None else 100 * row.train_accuracy
    return {
        "epoch": row.epoch,
        "train_loss": row.train_loss,
        "train_accuracy": accuracy,
        **_columns("test", row.report),
        **_columns("validation", row.validation),
        "mean_s_p": row.mean_s_p,
        "mean_s_n": row.mean_s_n,
        "gradient_cosine": row.gradient_cosine,
        "skipped": row.skipped,
        "seconds": row.seconds,
    }


def _columns(prefix: str, report: Report | None) -> dict[str, float]:
    if report is None:
        return {}
    names = {"R": "recall", "P": "precision"}
    columns = {}
    for metric in report.metrics:
        letter, at, k = metric.name.partition("@")
        name = f"{names[letter]}@{k}" if at and letter in names else metric.name
        columns[f"{prefix}_{name}"] = 100 * metric.value
    return columns


def _read(kind: type[Record], file: Path, advice: str) -> Record:
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); {advice}") from error
    try:
        return from_plain(kind, found, str(file))
    except ValueError as error:
        said = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise ValueError(f"{said}, unless it is of another version of Pairlens; {advice}") from error
