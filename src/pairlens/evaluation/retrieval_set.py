"""Queries and the gallery that they are searched in, as one record."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings, PhotoModel, embed
from pairlens.evaluation.evaluate import Report, summarize
from pairlens.evaluation.metric_definitions import MetricChoice
from pairlens.evaluation.metrics import mean_similarities
from pairlens.evaluation.per_query import QueryValues, measure_queries
from pairlens.neighbors.approximate import IndexKind


@dataclass(frozen=True, eq=False)
class RetrievalSet:
    """Embedded queries, and the embedded gallery if it consists of other photos.

    Attributes:
        queries: the photos that are looked up.
        gallery: the photos that are searched; None if the queries are searched among themselves.

    >>> import torch
    >>> test = Embeddings(torch.eye(3)[[0, 0, 1, 1]], torch.tensor([5, 5, 7, 7]), ("a", "b", "c", "d"))
    >>> RetrievalSet(test).evaluate(recalls=(1,))["R@1"]
    1.0
    """

    queries: Embeddings
    gallery: Embeddings | None = None

    @classmethod
    def embed(
        cls,
        model: PhotoModel,
        queries: Catalog,
        gallery: Catalog | None = None,
        *,
        batch_size: int = 128,
        workers: int = 2,
        watch: Callable[[Iterable, int], Iterable] | None = None,
    ) -> "RetrievalSet":
        """Embed the photos of one or two catalogs; the arguments are those of `embeddings.embed`."""
        # The queries come first, as in the fields; without a gallery the list has one element.
        sets = [
            embed(model, photos, batch_size=batch_size, workers=workers, watch=watch)
            for photos in (queries, gallery)
            if photos is not None
        ]
        return cls(*sets)

    @property
    def items(self) -> Embeddings:
        """The photos that are searched."""
        return self.queries if self.gallery is None else self.gallery

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Vectors and labels of the queries and of the gallery, in the order of the arguments of `evaluate`."""
        if self.gallery is None:
            return self.queries.vectors, self.queries.labels, None, None
        return self.queries.vectors, self.queries.labels, self.gallery.vectors, self.gallery.labels

    def measure(
        self,
        recalls: Sequence[int],
        metrics: Sequence[MetricChoice] = (),
        index: IndexKind = "exact",
        sharded: bool = False,
    ) -> QueryValues:
        """Return every metric of every query, as `measure_queries` does."""
        return measure_queries(*self.tensors, recalls=recalls, metrics=metrics, index=index, sharded=sharded)

    def evaluate(
        self,
        recalls: Sequence[int],
        metrics: Sequence[MetricChoice] = (),
        index: IndexKind = "exact",
        sharded: bool = False,
    ) -> Report:
        """Return the mean of every metric with its interval, as `evaluate` does."""
        return self.summarize(self.measure(recalls, metrics, index, sharded))

    def summarize(self, measured: QueryValues) -> Report:
        """Return the mean of every metric that `measure` has returned, with its interval."""
        return summarize(measured, len(self.queries.vectors), len(self.items.vectors))

    def mean_similarities(self) -> tuple[float, float]:
        """Return the mean cosine of the positive and of the negative pairs, as `metrics.mean_similarities` does."""
        return mean_similarities(*self.tensors)

    def made_by(self, model: str) -> "RetrievalSet":
        """Return the same embeddings with the fingerprint of the model that made them."""
        gallery = None if self.gallery is None else replace(self.gallery, model=model)
        return RetrievalSet(replace(self.queries, model=model), gallery)
