"""A report with its values summed over each test class, as one safetensors file; paired intervals need the sums."""

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from pairlens.core.files import write_tensors
from pairlens.core.records import Record, from_plain, to_plain
from pairlens.core.untrusted import parse_json, regular_file
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.per_query import ClassSums


class Reported(Protocol):
    """A record that holds a report."""

    @property
    def report(self) -> Report:
        """The report whose values are summed."""
        ...


def write_sums(file: Path, key: str, record: Reported, by_class: ClassSums) -> None:
    """Write a record and its sums into one file, completely or not at all.

    The sums of ten metrics take 80 bytes per class, the embeddings that they come from several kilobytes per photo.

    Args:
        file: where.
        key: the name of the record in the file.
        record: the record.
        by_class: the sums of the metrics of its report over the queries of each class.
    """
    # (metric, class), in the order of the metrics of the report.
    sums = np.stack([by_class.sums[metric.name] for metric in record.report.metrics])
    tensors = {"sums": torch.from_numpy(sums), "counts": torch.from_numpy(by_class.counts)}
    class_metrics = json.dumps(sorted(by_class.class_metrics))
    write_tensors(file, tensors, {key: json.dumps(to_plain(record)), "class_metrics": class_metrics})


def read_sums(file: Path, key: str, kind: type[Record]) -> tuple[Record, ClassSums]:
    """Read a file that `write_sums` wrote, with a record that has a report.

    Raises:
        ValueError: saying why it is missing or damaged; it names neither the file nor a remedy.
    """
    try:
        with safe_open(regular_file(file), framework="pt") as stored:
            record = from_plain(kind, parse_json(stored.metadata()[key]), str(file))
            class_metrics = parse_json(stored.metadata()["class_metrics"])
            # Copied, because safetensors gives the pages of the file, which somebody else may write to.
            sums = stored.get_tensor("sums").numpy().copy()
            counts = stored.get_tensor("counts").numpy().copy()
        report: Report = record.report  # pyright: ignore[reportAttributeAccessIssue]
        _check_sums(sums, counts, report)
        if not isinstance(class_metrics, list) or not set(class_metrics) <= {m.name for m in report.metrics}:
            raise ValueError("its metrics of classes are not those of its report")
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    names = [metric.name for metric in report.metrics]
    return record, ClassSums(dict(zip(names, sums, strict=True)), counts, frozenset(class_metrics))


def _check_sums(sums: np.ndarray, counts: np.ndarray, report: Report) -> None:
    if sums.shape != (len(report.metrics), report.classes) or counts.shape != (report.classes,):
        raise ValueError(
            f"its sums of shape {sums.shape} are not of {len(report.metrics)} metrics and {report.classes} classes"
        )
    if sums.dtype != np.float64 or counts.dtype != np.int64 or not np.isfinite(sums).all() or (counts < 1).any():
        raise ValueError("its sums or its numbers of queries are not those of classes")
