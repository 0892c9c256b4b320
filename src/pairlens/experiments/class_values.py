"""Values of further metrics for each test class, stored with a run, so that a comparison needs no code of the metrics."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pairlens.core.files import write_text
from pairlens.core.records import from_plain, to_plain
from pairlens.core.untrusted import read_json
from pairlens.evaluation.metric_definitions import is_standard
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.run_folder import RunFolder


@dataclass(frozen=True)
class MetricSums:
    """A metric of the kept model, summed over the queries of each test class.

    Attributes:
        name: its name.
        sums: for each class, in the order of the labels, the sum over its queries; or its one value.
        per_class: whether the metric has one value per class, and not per query.
    """

    name: str
    sums: tuple[float, ...]
    per_class: bool = False


@dataclass(frozen=True)
class ClassValues:
    """All further metrics of the kept model of a run.

    Attributes:
        metrics: what is measured beside the standard metrics.
    """

    metrics: tuple[MetricSums, ...]

    @classmethod
    def of(cls, by_class: ClassSums) -> "ClassValues":
        """Return the further metrics among the measured ones."""
        names = [name for name in by_class.sums if not is_standard(name)]
        return cls(
            tuple(
                MetricSums(name, tuple(by_class.sums[name].tolist()), name in by_class.class_metrics) for name in names
            )
        )

    def join(self, standard: ClassSums) -> ClassSums:
        """Return the standard metrics, measured from the stored embeddings, and these; ValueError for other classes."""
        for metric in self.metrics:
            if len(metric.sums) != len(standard.counts):
                raise ValueError(f"{metric.name} has {len(metric.sums)} classes, the gallery {len(standard.counts)}")
        sums = {metric.name: np.array(metric.sums) for metric in self.metrics}
        per_class = frozenset(metric.name for metric in self.metrics if metric.per_class)
        return ClassSums(standard.sums | sums, standard.counts, per_class)

    def save(self, file: Path) -> None:
        """Write the values, completely or not at all."""
        write_text(file, json.dumps(to_plain(self)) + "\n")

    @classmethod
    def hold(cls, file: Path, names: set[str]) -> bool:
        """Return whether a file holds these metrics and no others; a missing file holds none."""
        try:
            return {metric.name for metric in cls.load(file).metrics} == names
        except ValueError:
            return False

    @classmethod
    def load(cls, file: Path) -> "ClassValues":
        """Read the values; none if there is no file; raises ValueError if the file is damaged."""
        if not file.is_file():
            return cls(())
        try:
            return from_plain(cls, read_json(file), str(file))
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}); {RunFolder(file.parent).remedy}") from error
