"""What a run measured on its test photos, summed over each test class, so that a comparison need not measure it again."""

from dataclasses import dataclass
from pathlib import Path

from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.stored_sums import read_sums, write_sums


@dataclass(frozen=True)
class SummedReport:
    """The report whose values are summed.

    Attributes:
        report: of the kept epoch.
        photos: digest of the prepared data set.
    """

    report: Report
    photos: str


@dataclass(frozen=True, eq=False)
class RunSums:
    """The report of a run with its values summed over each test class.

    Attributes:
        record: the report.
        by_class: the sums of its metrics over the queries of each class.
    """

    record: SummedReport
    by_class: ClassSums

    def save(self, file: Path) -> None:
        """Write both into one safetensors file, completely or not at all."""
        write_sums(file, "run", self.record, self.by_class)

    @classmethod
    def find(cls, file: Path, report: Report) -> "RunSums | None":
        """Read a file that `save` wrote; None if it is missing, damaged, or of another report, as that of another epoch.

        Runs of earlier versions lack it; their embeddings can be measured again.
        """
        try:
            found = cls(*read_sums(file, "run", SummedReport))
        except ValueError:
            return None
        return found if found.record.report == report else None


def write_run_sums(run_folder: RunFolder, report: Report, photos: str, by_class: ClassSums) -> None:
    """Write the metrics of the kept epoch of a run for each test class.

    Args:
        run_folder: of the run.
        report: of the kept epoch.
        photos: digest of the prepared data set.
        by_class: the sums of the metrics of the report.
    """
    measured = RunSums(SummedReport(report, photos), by_class)
    measured.save(run_folder.class_sums)
    # Earlier versions read the further metrics from a file of their own.
    values = ClassValues.of(by_class)
    if values.metrics:
        values.save(run_folder.class_values)
