"""What a run measured on its test photos, so that a comparison needs neither its model nor its embeddings."""

import math
from dataclasses import dataclass
from pathlib import Path

from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.geometry import decay_and_rank
from pairlens.evaluation.per_query import ClassSums
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.stored_sums import read_sums, write_sums

# The spectrum of more photos takes longer and differs little.
SPECTRUM_PHOTOS = 1000


@dataclass(frozen=True)
class SummedReport:
    """The report whose values are summed, and the embeddings that it is of.

    Attributes:
        report: of the kept epoch.
        photos: digest of the prepared data set.
        model: fingerprint of the model; empty in files of earlier versions.
        decay: spectral decay of the embedded queries; None in files of earlier versions.
        effective_rank: of the embedded queries; None in files of earlier versions.
    """

    report: Report
    photos: str
    model: str = ""
    decay: float | None = None
    effective_rank: float | None = None


def spectrum_of(test: RetrievalSet) -> tuple[float, float]:
    """Return spectral decay and effective rank of embedded queries, at most `SPECTRUM_PHOTOS` of them."""
    vectors = test.queries.vectors
    # Evenly spaced, so that the choice does not depend on the classes.
    return decay_and_rank(vectors[:: max(1, math.ceil(len(vectors) / SPECTRUM_PHOTOS))].float())


def has_all_results(run_folder: RunFolder) -> bool:
    """Return whether a finished run has every result of its kept model, so that this and its embeddings may go."""
    stored = _stored_report(run_folder)
    return stored is not None and bool(stored.model) and stored.effective_rank is not None


def spectrum_of_run(run_folder: RunFolder) -> tuple[float, float]:
    """Return `spectrum_of` of a finished run; ValueError if neither that nor its embeddings are stored."""
    stored = _stored_report(run_folder)
    if stored is None or stored.decay is None or stored.effective_rank is None:
        return spectrum_of(run_folder.read_embeddings())
    return stored.decay, stored.effective_rank


def origin_of_embeddings(run_folder: RunFolder) -> tuple[str, str]:
    """Return the fingerprint of the model of a finished run, and the digest of the data set that it was tested on.

    Raises:
        ValueError: if neither they nor the embeddings are stored.
    """
    stored = _stored_report(run_folder)
    if stored is None or not stored.model:
        items = run_folder.read_embeddings().items
        return items.model, items.catalog
    return stored.model, stored.photos


def _stored_report(run_folder: RunFolder) -> SummedReport | None:
    found = read_run_sums(run_folder.class_sums, run_folder.read_outcome().report)
    return None if found is None else found[0]


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


def write_run_sums(run_folder: RunFolder, report: Report, test: RetrievalSet, by_class: ClassSums) -> None:
    """Write the metrics of the kept epoch of a run for each test class, and what its embeddings are of.

    Args:
        run_folder: of the run.
        report: of the kept epoch.
        test: the test photos, embedded by its model.
        by_class: the sums of the metrics of the report.
    """
    summed = SummedReport(report, test.queries.catalog, test.queries.model, *spectrum_of(test))
    write_sums(run_folder.class_sums, "run", summed, by_class)
    # Earlier versions read the further metrics from a file of their own.
    values = ClassValues.of(by_class)
    if values.metrics:
        values.save(run_folder.class_values)
