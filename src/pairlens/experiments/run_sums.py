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


def read_run_sums(file: Path, report: Report) -> tuple[SummedReport, ClassSums] | None:
    """Read a file that `write_run_sums` wrote, with the sums of the metrics over the queries of each test class.

    Returns:
        None if it is missing, as for runs of earlier versions, damaged, or of another report, as that of another epoch;
        the embeddings can then be measured again.
    """
    try:
        record, by_class = read_sums(file, "run", SummedReport)
    except ValueError:
        return None
    return (record, by_class) if record.report == report else None


def write_run_sums(run_folder: RunFolder, report: Report, photos: str, by_class: ClassSums) -> None:
    """Write the metrics of the kept epoch of a run for each test class.

    Args:
        run_folder: of the run.
        report: of the kept epoch.
        photos: digest of the prepared data set.
        by_class: the sums of the metrics of the report.
    """
    write_sums(run_folder.class_sums, "run", SummedReport(report, photos), by_class)
    # Earlier versions read the further metrics from a file of their own.
    values = ClassValues.of(by_class)
    if values.metrics:
        values.save(run_folder.class_values)
