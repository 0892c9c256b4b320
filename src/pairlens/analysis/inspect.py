"""A trained model: the classes it was trained on beside those it has never seen."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairlens.analysis import geometry
from pairlens.analysis.geometry import PairSimilarities
from pairlens.analysis.weights import pair_gradient, similarity_measure
from pairlens.core.pairs import Pairs
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embed import embed
from pairlens.experiments.folder import RunFolder
from pairlens.experiments.learner import choose_device
from pairlens.experiments.run import split
from pairlens.experiments.sources import open_catalog
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import EmbeddingLoss, possible_sources

MOST = 3000
WEIGHED = 512
Watch = Callable[[Iterable, int], Iterable]


@dataclass(frozen=True)
class Shape:
    """The shape of one set of embedded photos; what cannot be said of it is None.

    Attributes:
        photos: how many there are.
        classes: how many classes.
        mean_s_p: mean cosine of positive pairs.
        mean_s_n: mean cosine of negative pairs.
        overlap: shared area of their histograms.
        d_prime: distance of their means in deviations.
        auc: probability that a positive pair is the more similar.
        tpr: share of positive pairs above all but a thousandth of the negative ones.
        alignment: mean squared distance of positive pairs.
        uniformity: log mean e^{-2 d²} of all pairs.
        pi_intra: mean cosine distance within classes.
        pi_inter: mean cosine distance of class means.
        pi_ratio: the one over the other.
        rho: spectral decay.
        effective_rank: dimensions in use.
        hub_skewness: skewness of the 10-occurrence.
        hub_never: share of photos that are nobody's neighbour.
        hub_bad: share of neighbours of another class.
        circle_pass: share of photos whose hardest pairs lie within the circle of margin 0.25.
        hardest_1_percent: share of the loss's weight on the hardest 1 % of pairs.
        effective_pairs: (Σ w)² / Σ w² over the number of pairs.
        wrong_signs: share of pairs that the loss pushes the wrong way.
    """

    photos: int
    classes: int
    mean_s_p: float
    mean_s_n: float
    overlap: float
    d_prime: float
    auc: float
    tpr: float
    alignment: float
    uniformity: float
    pi_intra: float
    pi_inter: float
    pi_ratio: float
    rho: float
    effective_rank: float
    hub_skewness: float
    hub_never: float
    hub_bad: float
    circle_pass: float
    hardest_1_percent: float | None
    effective_pairs: float | None
    wrong_signs: float | None


def shape_of(vectors: Tensor, labels: Tensor, loss: Any = None) -> Shape:
    """Return the shape of (photo, dim) unit vectors of at least two classes, one with two photos or more.

    Args:
        vectors: unit vectors.
        labels: (photo,) integers.
        loss: whose weights are looked at on the first 512 photos; left out if it sees more than the pairs of a batch.
    """
    s = PairSimilarities.of(vectors, labels)
    if not len(s.positive) or not len(s.negative):
        raise ValueError("these photos have no positive or no negative pair; inspect a set with several photos a class")
    intra, inter = geometry.class_spread(vectors, labels)
    hubs = geometry.hubness(vectors, labels)
    weights = _weights(vectors[:WEIGHED], labels[:WEIGHED], loss)
    return Shape(
        photos=len(vectors),
        classes=len(labels.unique()),
        mean_s_p=float(s.positive.mean()),
        mean_s_n=float(s.negative.mean()),
        overlap=geometry.histogram_overlap(s),
        d_prime=geometry.d_prime(s),
        auc=geometry.roc_auc(s),
        tpr=geometry.true_positive_rate(s),
        alignment=geometry.alignment(s),
        uniformity=geometry.uniformity(s),
        pi_intra=intra,
        pi_inter=inter,
        pi_ratio=intra / max(inter, 1e-12),
        rho=geometry.spectral_decay(vectors),
        effective_rank=geometry.effective_rank(vectors),
        hub_skewness=hubs.skewness,
        hub_never=hubs.never,
        hub_bad=hubs.bad,
        circle_pass=geometry.circle_pass_rate(vectors, labels),
        hardest_1_percent=weights.hardest if weights else None,
        effective_pairs=weights.effective if weights else None,
        wrong_signs=weights.wrong if weights else None,
    )


def _weights(vectors: Tensor, labels: Tensor, loss: Any) -> geometry.WeightShare | None:
    pairs = Pairs.within(labels)
    of_pairs = loss is not None and not isinstance(loss, EmbeddingLoss) and "batch" in possible_sources(loss)
    if not of_pairs or not bool(pairs.complete.any()):
        return None
    gradient = pair_gradient(similarity_measure(loss), (vectors @ vectors.T).double(), pairs)
    return geometry.weight_share(gradient, pairs)


@dataclass(frozen=True, eq=False)
class Inspection:
    """A model on classes it has seen and on classes it has not.

    Attributes:
        seen: shape of the training photos.
        unseen: shape of the test photos.
        similarities: the pair similarities of both, by the words seen and unseen.
    """

    seen: Shape
    unseen: Shape
    similarities: dict[str, PairSimilarities]

    def rows(self) -> list[tuple[str, float | None, float | None]]:
        """Return (metric, seen, unseen)."""
        return [(f.name, getattr(self.seen, f.name), getattr(self.unseen, f.name)) for f in fields(Shape)]


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
    parts = split(open_catalog(experiment), experiment)
    model = Embedder.load(folder, str(choose_device(device)))
    embedded = [
        embed(model, some_classes(part), workers=experiment.workers, watch=watch) for part in (parts.train, parts.test)
    ]
    seen, unseen = (shape_of(e.vectors, e.labels, experiment.loss) for e in embedded)
    names = ("seen", "unseen")
    return Inspection(
        seen, unseen, {n: PairSimilarities.of(e.vectors, e.labels) for n, e in zip(names, embedded, strict=True)}
    )


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
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("metric", "seen", "unseen"), *inspection.rows()])
    with histograms.open("w", newline="") as file:
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
