"""A trained model: the classes it was trained on beside those it has never seen."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from pairlens.data.catalog import Catalog
from pairlens.evaluation import geometry
from pairlens.evaluation.embedding_stats import EmbeddingStats, embedding_stats
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.geometry import PairSimilarities
from pairlens.experiments.build import choose_device
from pairlens.experiments.recorder import Watch
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog, split_catalog
from pairlens.model.embedder import Embedder

MOST = 3000


@dataclass(frozen=True, eq=False)
class Inspection:
    """A model on classes it has seen and on classes it has not.

    Attributes:
        seen: shape of the training photos.
        unseen: shape of the test photos.
        similarities: the pair similarities of both, by the words seen and unseen.
        gradient_cosine: of the ranking and the auxiliary loss at the last map, in the last step of the kept epoch; None
            if the run had no auxiliary loss.
    """

    seen: EmbeddingStats
    unseen: EmbeddingStats
    similarities: dict[str, PairSimilarities]
    gradient_cosine: float | None = None

    def rows(self) -> list[tuple[str, float | None, float | None]]:
        """Return (metric, seen, unseen)."""
        return [(f.name, getattr(self.seen, f.name), getattr(self.unseen, f.name)) for f in fields(EmbeddingStats)]


def inspect_run(
    folder: Path, data_path: Path | None = None, device: str = "auto", watch: Watch | None = None
) -> Inspection:
    """Embed training and test photos of a run with its kept model, at most 3000 of each, and return their shapes.

    Args:
        folder: the run.
        data_path: where the data set lies now, if it has moved.
        device: auto, cpu or cuda.
        watch: wraps the batches to show progress.

    Raises:
        ValueError: if the folder is no run, or there are no pairs to look at.
    """
    place = RunFolder(folder)
    experiment = place.experiment()
    if data_path is not None:
        experiment = type(experiment)(**{**vars(experiment), "data_path": data_path})
    parts = split_catalog(open_catalog(experiment), experiment)
    model = Embedder.load(folder, str(choose_device(device)))
    embedded = [
        embed(model, some_classes(part), workers=experiment.workers, watch=watch) for part in (parts.train, parts.test)
    ]
    seen, unseen = (embedding_stats(e.vectors, e.labels, experiment.loss) for e in embedded)
    similarities = [PairSimilarities.of(e.vectors, e.labels) for e in embedded]
    outcome = place.read_outcome()
    kept = next(row for row in outcome.rows if row.epoch == outcome.epoch)
    return Inspection(seen, unseen, dict(zip(("seen", "unseen"), similarities, strict=True)), kept.gradient_cosine)


def some_classes(catalog: Catalog, most: int = MOST) -> Catalog:
    """Return a catalog of whole classes, drawn in an order that never changes, with about `most` photos."""
    order = torch.randperm(catalog.classes, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(catalog.labels, minlength=catalog.classes)[order]
    taken = order[: max(2, int((counts.cumsum(0) <= most).sum()))]
    return catalog if len(taken) == catalog.classes else catalog.keep_classes(sorted(taken.tolist()))


def write_inspection(inspection: Inspection, folder: Path) -> list[Path]:
    """Write `inspection.csv` and the histograms as a table, `similarities.csv`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, histograms = folder / "inspection.csv", folder / "similarities.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("metric", "seen", "unseen"), *inspection.rows()])
    with histograms.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(_histogram_rows(inspection))
    return [table, histograms]


def _histogram_rows(inspection: Inspection) -> Iterable[tuple]:
    yield ("classes", "pairs", "similarity", "share")
    edges = torch.linspace(-1, 1, geometry.BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    for name, similarities in inspection.similarities.items():
        for kind in ("positive", "negative"):
            values = getattr(similarities, kind)
            shares = (torch.histc(values.clamp(-1, 1), geometry.BINS, -1, 1) / len(values)).tolist()
            yield from ((name, kind, middle, share) for middle, share in zip(middles, shares, strict=True))
