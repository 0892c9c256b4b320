"""Inspection of a trained model: statistics of its training photos beside those of the test photos."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from pairlens.core.files import make_folder, write_text
from pairlens.core.table import Table
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embedding_stats import EmbeddingStats, choose_classes, embedding_stats
from pairlens.evaluation.evaluate import SeenClasses, part_titles
from pairlens.evaluation.geometry import BINS, PairSimilarities
from pairlens.evaluation.open_set import MAX_PHOTOS, OpenSetStats, open_set_stats
from pairlens.experiments.build import choose_device
from pairlens.experiments.embed_photos import embed_photos
from pairlens.experiments.recorder import Watch
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Embedder


@dataclass(frozen=True, eq=False)
class Inspection:
    """The statistics of a model on the photos that it was trained on, and on the test photos.

    The test photos are of unseen classes, unless `seen_classes` says otherwise.

    Attributes:
        seen: statistics of the training photos.
        unseen: statistics of the test photos.
        similarities: the pair similarities of both, under the keys `seen` and `unseen`.
        open_set: the open-set measures of both, under the same keys; None where there are too few classes.
        gradient_cosine: cosine between the gradients of the ranking and the auxiliary loss at the last feature map, in the
            last step of the selected epoch; None if the run had no auxiliary loss.
        seen_classes: how many of the test classes are training classes.
    """

    seen: EmbeddingStats
    unseen: EmbeddingStats
    similarities: dict[str, PairSimilarities]
    open_set: dict[str, OpenSetStats | None]
    gradient_cosine: float | None = None
    seen_classes: SeenClasses = "none"

    @property
    def titles(self) -> tuple[str, str]:
        """What the training photos and the test photos are called in tables and figures."""
        return part_titles(self.seen_classes)

    def rows(self) -> list[tuple[str, float | None, float | None]]:
        """Return (statistic, training, test); `statistic_meanings.SHAPE_MEANINGS` says what each statistic is."""
        shape = [(f.name, getattr(self.seen, f.name), getattr(self.unseen, f.name)) for f in fields(EmbeddingStats)]
        seen, unseen = self.open_set["seen"], self.open_set["unseen"]
        names = [f.name for f in fields(OpenSetStats)]
        return shape + [(name, getattr(seen, name, None), getattr(unseen, name, None)) for name in names]


def inspect_run(
    folder: Path, data_path: Path | None = None, device: str = "auto", watch: Watch | None = None
) -> Inspection:
    """Embed training and test photos with the saved model of a run, at most 3000 of each, and return their statistics.

    Args:
        folder: the folder of the run.
        data_path: where the data set is now, if it has moved.
        device: auto, cpu or cuda.
        watch: wraps the batches to show progress.

    Raises:
        ValueError: if the folder is not the folder of a run, or the photos have no positive or no negative pair.
    """
    opened = RunFolder(folder).open(data_path)
    experiment = opened.experiment
    model = Embedder.load(folder, str(choose_device(device)))
    # The statistics look at all pairs of photos, whose number is the square of that of the photos.
    parts = [some_classes(part) for part in (opened.splits.train, opened.splits.test)]
    seen, unseen = embed_photos(opened, model, parts, watch)
    return Inspection(
        seen=embedding_stats(seen.vectors, seen.labels, experiment.loss),
        unseen=embedding_stats(unseen.vectors, unseen.labels, experiment.loss),
        similarities={
            "seen": PairSimilarities.of(seen.vectors, seen.labels),
            "unseen": PairSimilarities.of(unseen.vectors, unseen.labels),
        },
        open_set={
            "seen": open_set_stats(seen.vectors, seen.labels),
            "unseen": open_set_stats(unseen.vectors, unseen.labels),
        },
        gradient_cosine=opened.outcome.kept_row.gradient_cosine,
        seen_classes=opened.splits.seen_classes,
    )


def some_classes(catalog: Catalog, max_photos: int = MAX_PHOTOS) -> Catalog:
    """Return the photos of the classes that `choose_classes` returns: `max_photos` at most, but two classes at least."""
    return catalog.keep_classes(choose_classes(catalog.labels, max_photos).tolist())


def write_inspection(inspection: Inspection, folder: Path) -> list[Path]:
    """Write the statistics as `inspection.csv` and the histograms as `similarities.csv`; returns the files."""
    make_folder(folder)
    statistics = [[str(cell) if cell is not None else "" for cell in row] for row in inspection.rows()]
    histograms = [[str(cell) for cell in row] for row in _histogram_rows(inspection)]
    tables = {
        folder / "inspection.csv": Table("Statistics", ("metric", "seen", "unseen"), statistics),
        folder / "similarities.csv": Table("Histograms", ("classes", "pairs", "similarity", "share"), histograms),
    }
    # Stored files have the field names of the records; plain names are for reports.
    for file, table in tables.items():
        write_text(file, table.csv())
    return list(tables)


def _histogram_rows(inspection: Inspection) -> Iterator[tuple[str, str, float, float]]:
    edges = torch.linspace(-1, 1, BINS + 1)
    centers = ((edges[1:] + edges[:-1]) / 2).tolist()
    for classes, similarities in inspection.similarities.items():
        for pairs, cosines in (("positive", similarities.positive), ("negative", similarities.negative)):
            # Rounding can put a cosine a little outside [-1, 1], where histc would not count it.
            shares = torch.histc(cosines.clamp(-1, 1), BINS, -1, 1) / len(cosines)
            for center, share in zip(centers, shares.tolist(), strict=True):
                yield classes, pairs, center, share
