"""A finished run of a comparison, with its values summed over each test class."""

from dataclasses import dataclass

from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.outcome import EpochRow, Outcome
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run_sums import read_run_sums


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run with all its epochs.

    Attributes:
        seed: its seed.
        run_folder: its folder.
        outcome: the reports of all its epochs.
        by_class: the sums of each metric over the queries of each test class.
        photos: digest of the prepared data set on which it was tested; empty in runs of version 0.1.
    """

    seed: int
    run_folder: RunFolder
    outcome: Outcome
    by_class: ClassSums
    photos: str = ""

    @classmethod
    def open(cls, seed: int, run_folder: RunFolder) -> "FinishedRun":
        """Read the outcome of a run and its sums over each class.

        The embeddings of a run of an earlier version, which lacks the sums, are measured again query by query. Further
        metrics are not, because their code may not be here; they are stored for each class.
        """
        outcome = run_folder.read_outcome()
        stored = read_run_sums(run_folder.class_sums, outcome.report)
        if stored is None:
            return cls._measured_again(seed, run_folder, outcome)
        record, by_class = stored
        return cls(seed, run_folder, outcome, by_class, record.photos)

    @classmethod
    def _measured_again(cls, seed: int, run_folder: RunFolder, outcome: Outcome) -> "FinishedRun":
        embeddings = run_folder.read_embeddings()
        measured = embeddings.measure(run_folder.experiment().evaluation.recalls)
        by_class = ClassValues.load(run_folder.class_values).join(measured.class_sums())
        missing = [metric.name for metric in outcome.report.metrics if metric.name not in by_class.sums]
        if missing:
            raise ValueError(
                f"{run_folder.class_values} lacks the metric {missing[0]}; {run_folder.remedy}, or, if an epoch before the "
                "last was kept, remove that folder and compare again"
            )
        return cls(seed, run_folder, outcome, by_class, embeddings.queries.catalog)

    @property
    def row(self) -> EpochRow:
        """The selected epoch."""
        return self.outcome.kept_row
