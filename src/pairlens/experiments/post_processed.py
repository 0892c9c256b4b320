"""The test photos of a run measured again after post-processing, beside the same without it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from torch import Tensor

from pairlens.core.records import require
from pairlens.evaluation.evaluate import RESAMPLES, Report
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.per_query import QueryValues
from pairlens.evaluation.post_processing import Projection, check_scores, expand_queries, fit_pca, rerank
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.evaluation.score_matrix import measure_scores
from pairlens.experiments.build import choose_device
from pairlens.experiments.embed_photos import embed_photos
from pairlens.experiments.recorder import Watch
from pairlens.experiments.run_folder import OpenRun, RunFolder
from pairlens.model.embedder import Embedder

PostStep: TypeAlias = Literal["whiten", "aqe", "rerank"]


@dataclass(frozen=True)
class PostProcessing:
    """What is done with embeddings beside the usual search.

    The steps are taken in this order, however they are given: the principal components of the training photos, whitened or
    not; query expansion; re-ranking. If the queries are searched among themselves, re-ranking after query expansion works on
    the expanded vectors of all photos.

    Attributes:
        post: whiten (PCA whitening, fitted on the training photos), aqe (α query expansion), rerank (k-reciprocal
            re-ranking), or several of these; the gain is printed with its interval.
        reduce: how many principal components of the embedding are kept before the search.
    """

    post: tuple[PostStep, ...] = ()
    reduce: int | None = None

    def __post_init__(self) -> None:
        require(self.reduce is None or self.reduce >= 1, f"--reduce {self.reduce} leaves no dimension; give 1 or more")

    @property
    def name(self) -> str:
        """The steps in words, empty if there are none.

        >>> PostProcessing(("rerank", "whiten"), 128).name
        '128 dimensions + whiten + rerank'
        """
        reduced = [] if self.reduce is None else [f"{self.reduce} dimensions"]
        return " + ".join([*reduced, *(step for step in get_args(PostStep) if step in self.post)])

    @property
    def compares_all(self) -> bool:
        """Whether a step holds the similarities of all queries and items in memory."""
        return bool({"aqe", "rerank"} & set(self.post))


@dataclass(frozen=True)
class Change:
    """What post-processing changes of a metric, on the same queries.

    Attributes:
        metric: its name.
        value: the mean difference, after minus before.
        low: lower end of its 95 % interval over test classes.
        high: upper end.
    """

    metric: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{100 * part:+.1f}" for part in (self.value, self.low, self.high))
        return f"{self.metric} {value} points [{low}, {high}]"


@dataclass(frozen=True, eq=False)
class PostProcessed:
    """A run after post-processing.

    Attributes:
        name: the steps, such as whiten + rerank.
        report: its figures.
        changes: what each metric gains, with paired intervals.
        values: every metric of every query.
    """

    name: str
    report: Report
    changes: tuple[Change, ...]
    values: QueryValues = field(repr=False)


def post_process_run(
    folder: str | Path,
    processing: PostProcessing,
    *,
    recalls: tuple[int, ...] | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Watch | None = None,
) -> PostProcessed:
    """Measure the stored embeddings of a run after post-processing; nothing is written.

    Args:
        folder: the folder of a finished run.
        processing: what is done.
        recalls: other K than those of the run.
        data_path: folder of the prepared data sets, if they have moved since the run was trained.
        device: where the training photos are embedded.
        progress: wraps the batches to show progress.

    Raises:
        ValueError: if nothing is to be done, the folder is not that of a finished run, or there are too few components.
        FileNotFoundError: if the data set is not there.
    """
    require(bool(processing.name), "post-processing needs a step: --post whiten, aqe or rerank, or --reduce")
    opened = RunFolder(Path(folder)).open(data_path)
    before = opened.run_folder.read_embeddings()
    recalls = recalls or opened.experiment.evaluation.recalls

    def training_vectors() -> Tensor:
        return _training_vectors(opened, str(choose_device(device)), progress)

    measured = measure_processed(before, processing, recalls, training_vectors)
    report = replace(before.summarize(measured), seen_classes=opened.splits.seen_classes)
    return PostProcessed(processing.name, report, compare_values(before.measure(recalls), measured), measured)


def measure_processed(
    test: RetrievalSet, processing: PostProcessing, recalls: tuple[int, ...], training: Callable[[], Tensor]
) -> QueryValues:
    """Return the standard metrics of every query after post-processing.

    Args:
        test: the embedded test photos.
        processing: what is done.
        recalls: the K of Recall@K and Precision@K.
        training: returns the embeddings of the training photos, (photo, dim); called only if a step needs them.

    Raises:
        ValueError: if there are too many test photos for a step, or too few components.
    """
    steps, reduce = processing.post, processing.reduce
    if processing.compares_all:
        # Before the training photos are embedded for nothing.
        check_scores(len(test.queries.vectors), len(test.items.vectors))
    if "whiten" in steps or reduce is not None:
        test = _mapped(test, fit_pca(training(), reduce, whiten="whiten" in steps))
    queries, labels, items, item_labels = test.tensors
    if not processing.compares_all:
        return test.measure(recalls)
    searched = expand_queries(queries, items) if "aqe" in steps else queries
    scores = rerank(searched, items) if "rerank" in steps else searched @ test.items.vectors.T
    return measure_scores(scores, labels, item_labels, recalls=recalls)


def _mapped(test: RetrievalSet, projection: Projection) -> RetrievalSet:
    gallery = None if test.gallery is None else replace(test.gallery, vectors=projection(test.gallery.vectors))
    return RetrievalSet(replace(test.queries, vectors=projection(test.queries.vectors)), gallery)


def _training_vectors(opened: OpenRun, device: str, progress: Watch | None) -> Tensor:
    """Return the embeddings of the training photos by the kept model, (photo, dim)."""
    model = Embedder.load(opened.run_folder.path, device)
    (train,) = embed_photos(opened, model, [opened.splits.train], progress)
    return train.vectors


def compare_values(before: QueryValues, after: QueryValues) -> tuple[Change, ...]:
    """Return the mean difference of each metric over the same queries, with its interval over their classes."""
    first, second = before.class_sums(), after.class_sums()
    changes = []
    for name, sums in second.sums.items():
        difference = sums - first.sums[name]
        weights = second.weights(name)
        low, high = class_bootstrap(difference[None], weights, resamples=RESAMPLES)
        changes.append(Change(name, float(difference.sum() / weights.sum()), float(low[0]), float(high[0])))
    return tuple(changes)
